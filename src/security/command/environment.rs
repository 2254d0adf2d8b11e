//! Variables that a server's configuration gives to its program (threat model T14).
//!
//! A variable is data to most programs; some make a loader or an interpreter run code before the program itself. Those are refused
//! by name, whoever wrote them.

use indexmap::IndexMap;
use secrecy::ExposeSecret;

use super::{
    MAX_ARG, MAX_TOTAL,
    inline::{self, is_kernel_file},
    name::shown,
};
use crate::secret::Secret;
use crate::security::{Refusal, Rule};

const REMOVE: &str = "remove the variable from the server's `env`";

/// SECURITY: what makes loaders and interpreters load or run code that the command line does not show. Search paths of languages
/// (`PYTHONPATH`, `NODE_PATH`), `PATH`, proxies and files of certificates are no hooks: servers need them.
#[rustfmt::skip]
const HOOKS: &[&str] = &[
    // Loaders and the C library
    "GCONV_PATH", "GETCONF_DIR", "GLIBC_TUNABLES", "HOSTALIASES", "LOCPATH", "MALLOC_TRACE", "NIS_PATH", "NLSPATH",
    "RESOLV_HOST_CONF", "LIBPATH", "SHLIB_PATH",
    "OPENSSL_CONF", "OPENSSL_CONF_INCLUDE", "OPENSSL_ENGINES", "OPENSSL_MODULES",
    "GTK_MODULES", "GIO_EXTRA_MODULES", "QT_PLUGIN_PATH",
    // Shells
    "BASH_ENV", "BASHOPTS", "ENV", "IFS", "PROMPT_COMMAND", "PS4", "SHELLOPTS", "ZDOTDIR", "COMSPEC", "PSMODULEPATH",
    // Node
    "BUN_OPTIONS", "NODE_REPL_EXTERNAL_MODULE",
    // Python
    "PYTHONBREAKPOINT", "PYTHONEXECUTABLE", "PYTHONHOME", "PYTHONINSPECT", "PYTHONPLATLIBDIR", "PYTHONSTARTUP", "PYTHONUSERBASE",
    "PYTHON_PRESITE", "__PYVENV_LAUNCHER__",
    // Perl, Ruby, PHP, R, Erlang
    "PERL5DB", "PERL5LIB", "PERL5OPT", "PERL5SHELL", "PERLLIB", "RUBYLIB", "RUBYOPT", "RUBYSHELL", "PHPRC", "PHP_INI_SCAN_DIR",
    "R_ENVIRON", "R_ENVIRON_USER", "R_PROFILE", "R_PROFILE_USER", "ERL_AFLAGS", "ERL_FLAGS", "ERL_ZFLAGS", "ELIXIR_ERL_OPTIONS",
    // Java and .NET
    "JAVA_TOOL_OPTIONS", "JDK_JAVAC_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS",
    "DOTNET_ADDITIONAL_DEPS", "DOTNET_STARTUP_HOOKS",
    // Programs that start others
    "GIT_ASKPASS", "GIT_EDITOR", "GIT_EXEC_PATH", "GIT_EXTERNAL_DIFF", "GIT_PAGER", "GIT_PROXY_COMMAND", "GIT_SEQUENCE_EDITOR",
    "GIT_SSH", "GIT_SSH_COMMAND", "GIT_TEMPLATE_DIR", "SSH_ASKPASS", "SUDO_ASKPASS", "LESSCLOSE", "LESSOPEN",
    "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER",
];

/// Command lines of programs for people. Their names are data; more than that is split into words by Python's `webbrowser`, and handed to
/// a shell by git and others.
const FOR_PEOPLE: &[&str] = &["BROWSER", "EDITOR", "VISUAL", "PAGER", "MANPAGER"];

#[rustfmt::skip]
const HOOK_PREFIXES: &[&str] = &[
    // Not all that begins with `LD_`: people keep keys of LaunchDarkly there.
    "LD_32_", "LD_64_", "LD_ASSUME", "LD_AUDIT", "LD_BIND", "LD_CONFIG", "LD_DEBUG", "LD_DYNAMIC", "LD_ELF_HINTS", "LD_FLAGS",
    "LD_HWCAP", "LD_LIBMAP", "LD_LIBRARY", "LD_LOADFLTR", "LD_OPTIONS", "LD_ORIGIN", "LD_POINTER", "LD_PREFER", "LD_PRELOAD",
    "LD_PROFILE", "LD_RUN_PATH", "LD_SHOW", "LD_TRACE", "LD_USE", "LD_VERBOSE", "LD_WARN", "DYLD_", "__XPC_DYLD_", "_RLD_", "BASH_FUNC_", "LUA_INIT", "CORECLR_", "COR_PROFILER", "COR_ENABLE_PROFILING", "GIT_CONFIG_",
];

/// Settings of npm and pnpm, after `npm_config_`, that name a program, code, or a module to load. Both read them in any case.
#[rustfmt::skip]
pub(in crate::security::command) const NPM_HOOKS: &[&str] = &[
    "call", "editor", "git", "init_module", "node_gyp", "onload_script", "script_shell", "shell", "shell_emulator", "viewer",
];

/// Options of Node that load code, or let somebody else do so.
#[rustfmt::skip]
const NODE_HOOKS: &[&str] = &[
    "-r", "--require", "--import", "--loader", "--experimental-loader", "-e", "--eval", "-p", "--print", "-pe", "-i", "--interactive",
    "--env-file", "--env-file-if-exists", "--experimental-config-file", "--experimental-default-config-file", "--experimental-policy",
    "--openssl-config", "--openssl-shared-config", "--snapshot-blob", "--build-snapshot", "--run", "--test-reporter", "--test-global-setup",
];

pub(super) fn allow(env: &IndexMap<String, Secret>) -> Result<(), Refusal> {
    let mut total = 0;
    for (name, value) in env {
        let value = value.expose_secret();
        if !is_name(name) {
            return Err(Refusal::new(
                Rule::EnvName,
                format!("a name of a variable that begins with `{}` is none", shown(name)),
                "names are made of ASCII letters, digits and underscores, and do not begin with a digit",
            ));
        }
        let refuse = |what: String| Err(Refusal::new(Rule::EnvValue, what, "hand large or binary data over in a file"));
        if value.contains('\0') {
            return refuse(format!("the value of `{name}` holds a NUL, which no variable can"));
        }
        let size = name.len() + "=".len() + value.len();
        total += size + 1;
        if size > MAX_ARG {
            return refuse(format!("the value of `{name}` is longer than the operating system passes on"));
        }
        if total > MAX_TOTAL {
            return refuse(format!("the variables have more than {MAX_TOTAL} bytes together"));
        }
        hook(name, value)?;
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

fn hook(name: &str, value: &str) -> Result<(), Refusal> {
    // Windows does not tell the cases apart; elsewhere `env` is not `ENV`.
    let known = if cfg!(windows) { name.to_ascii_uppercase() } else { name.to_owned() };
    let loads = |what: &str| Err(Refusal::new(Rule::EnvHook, format!("the variable `{name}` {what}"), REMOVE));
    if HOOKS.contains(&known.as_str()) || HOOK_PREFIXES.iter().any(|prefix| known.starts_with(prefix)) {
        return loads("makes a program load or run other code");
    }
    if known == "NODE_OPTIONS" {
        return node_options(name, value);
    }
    if known == "PYTHONWARNINGS" && imports(value) {
        return loads("makes Python import a module");
    }
    if FOR_PEOPLE.contains(&known.as_str()) && is_more_than_a_program(value) {
        return loads("holds code for a shell or an interpreter");
    }
    if known == "UV_PYTHON" && is_other_program(value) {
        return loads("makes uv run another program than Python");
    }
    if known == "UV_ENV_FILE" && is_kernel_file(value) {
        return loads("makes uv read more variables out of those that are set here");
    }
    let lower = name.to_ascii_lowercase();
    let Some(setting) = lower.strip_prefix("npm_config_").or_else(|| lower.strip_prefix("pnpm_config_")) else { return Ok(()) };
    if NPM_HOOKS.contains(&setting) {
        return loads("makes npm run another program");
    }
    // SECURITY: `/proc/self/environ` is a file that holds what stands here.
    if matches!(setting, "userconfig" | "globalconfig") && is_kernel_file(value) {
        return loads("makes npm read its settings out of the variables that are set here");
    }
    if setting == "node_options" { node_options(name, value) } else { Ok(()) }
}

/// Whether it is more than programs with plain arguments. `:` stands between several, and `%s` where `BROWSER` puts the URL.
fn is_more_than_a_program(value: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || "_-./:=,+@".contains(c) || cfg!(windows) && c == '\\';
    // Longer than any such line; reading one has to end.
    if value.len() > 1024 || !value.split(' ').all(|word| word == "%s" || word.chars().all(is_plain)) {
        return true;
    }
    value.split(':').any(|line| {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        words.split_first().is_some_and(|(program, args)| inline::refuse(program, args).is_err())
    })
}

/// A version, a name or a file of a Python is none. uv runs whatever file it is given.
fn is_other_program(python: &str) -> bool {
    let file = super::name::plain(super::name::basename(python));
    python.contains(['/', '\\']) && !["python", "pypy", "graalpy", "cpython"].iter().any(|name| file.starts_with(name))
}

/// `action:message:category:module:line`: a category with a dot is imported.
fn imports(value: &str) -> bool {
    value.split(',').any(|filter| filter.split(':').nth(2).is_some_and(|category| category.contains('.')))
}

fn node_options(name: &str, value: &str) -> Result<(), Refusal> {
    let Some(found) = loading(value) else { return Ok(()) };
    let hint = "remove the option; those that only tune Node, such as `--max-old-space-size=4096`, are allowed";
    let what = match found {
        Loading::Unknown => format!("the variable `{name}` has a quote that does not end"),
        Loading::Option(option) => {
            let shown = option.chars().take(40).flat_map(char::escape_default).collect::<String>();
            format!("the variable `{name}` holds `{shown}`, which loads code or opens a debugger")
        }
    };
    Err(Refusal::new(Rule::EnvHook, what, hint))
}

/// What in a list of Node's options loads code.
pub(in crate::security::command) enum Loading {
    /// A quote does not end, so nobody knows.
    Unknown,
    Option(String),
}

/// The first of Node's options, as `NODE_OPTIONS` holds them, that loads code or opens a debugger.
pub(in crate::security::command) fn loading(options: &str) -> Option<Loading> {
    let Some(options) = split(options) else { return Some(Loading::Unknown) };
    // Node takes `_` for `-` in them.
    let names = options.iter().map(|option| option.split('=').next().unwrap_or_default().replace('_', "-"));
    names.into_iter().find(|name| NODE_HOOKS.contains(&name.as_str()) || is_debugger(name)).map(Loading::Option)
}

/// Whether an option of Node opens a port at which whoever connects can run code.
pub(in crate::security::command) fn is_debugger(option: &str) -> bool {
    option.starts_with("--inspect") || option.starts_with("--debug") || option == "--experimental-worker-inspection"
}

/// As Node does (`ParseNodeOptionsEnvVar`): only blanks separate, double quotes hold together, and a backslash escapes between them.
fn split(value: &str) -> Option<Vec<String>> {
    let mut options = vec![String::new()];
    let mut quoted = false;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => options.last_mut()?.push(chars.next()?),
            ' ' if !quoted => options.push(String::new()),
            '"' => quoted = !quoted,
            _ => options.last_mut()?.push(c),
        }
    }
    (!quoted).then_some(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn rule(name: &str, value: &str) -> Option<Rule> {
        let env = IndexMap::from([(name.to_owned(), Secret::from(value))]);
        let refusal = allow(&env).err()?;
        let shown = refusal.to_string();
        assert!(!shown.contains("SECRET"), "{shown}");
        assert!(value.len() < 8 || value.starts_with('-') || !shown.contains(value), "the value is shown: {shown}");
        assert!(shown.contains(name) || refusal.rule == Rule::EnvName, "the name is not shown: {shown}");
        Some(refusal.rule)
    }

    #[test]
    fn names_are_plain() {
        for good in ["A", "_", "a1_B", "__transport", "x"] {
            assert_eq!(rule(good, "1"), None, "{good}");
        }
        for bad in ["", "1A", "A-B", "A B", "A=B", "A\0", "Ä", "A.B", "a%", " A", "BASH_FUNC_x%%", "A\n"] {
            assert_eq!(rule(bad, "1"), Some(Rule::EnvName), "{bad:?}");
        }
    }

    #[test]
    fn a_name_that_holds_a_value_is_not_shown_whole() {
        for (name, begins) in
            [("API_KEY=SECRET", "`API_KEY`"), ("API_KEY: SECRET", "`API_KEY`"), (" A-B SECRET", "`A-B`"), ("=SECRET", "``")]
        {
            let refusal = allow(&IndexMap::from([(name.to_owned(), Secret::from("1"))])).expect_err(name);
            assert!(refusal.what.contains(begins) && !refusal.to_string().contains("SECRET"), "{refusal}");
        }
        assert_eq!(rule(&format!("{}SECRET", "x-".repeat(20)), "1"), Some(Rule::EnvName));
    }

    #[test]
    fn programs_for_people_are_names_and_plain_arguments() {
        for name in FOR_PEOPLE {
            for good in
                ["", "none", "firefox", "/usr/bin/vim", "code --wait", "less -R", "firefox:w3m:links", "firefox %s", "emacsclient -a=vi"]
            {
                assert_eq!(rule(name, good), None, "{name}={good}");
            }
            for bad in [
                "sh -c id",
                &"env ".repeat(1000),
                "bash",
                "firefox:bash -c id %s",
                "python3 -c pass %s",
                "env sh -c id",
                "node -e 1 %s",
                "vim;id",
                "$(id)",
                "less|sh",
                "`id`",
                "a 'b'",
                "a\nid",
            ] {
                assert_eq!(rule(name, bad), Some(Rule::EnvHook), "{name}={bad}");
            }
        }
    }

    #[test]
    fn files_that_hold_our_variables_are_no_settings() {
        for (name, value, expect) in [
            ("npm_config_userconfig", "/proc/self/environ", Some(Rule::EnvHook)),
            ("NPM_CONFIG_USERCONFIG", "../../../../proc/self/environ", Some(Rule::EnvHook)),
            ("npm_config_globalconfig", "/proc/thread-self/environ", Some(Rule::EnvHook)),
            ("UV_ENV_FILE", "/proc/self/environ", Some(Rule::EnvHook)),
            ("npm_config_userconfig", "/home/me/.npmrc", None),
            ("npm_config_globalconfig", "/dev/null", None),
            ("UV_ENV_FILE", ".env", None),
            ("UV_PYTHON", "3.12", None),
            ("UV_PYTHON", "cpython@3.12", None),
            ("UV_PYTHON", "/usr/bin/python3.12", None),
            ("UV_PYTHON", "/tmp/other", Some(Rule::EnvHook)),
            ("PYTHON_PRESITE", "mod", Some(Rule::EnvHook)),
        ] {
            assert_eq!(rule(name, value), expect, "{name}={value}");
        }
    }

    #[test]
    fn values_are_anything_but_nul() {
        assert_eq!(rule("PEM", "-----BEGIN\nabc\r\n\tä\x1b\n"), None);
        assert_eq!(rule("A", ""), None);
        assert_eq!(rule("A", "a\0b"), Some(Rule::EnvValue));
        assert_eq!(rule("A", &"x".repeat(MAX_ARG - 2)), None);
        assert_eq!(rule("A", &"x".repeat(MAX_ARG - 1)), Some(Rule::EnvValue));
        let many: IndexMap<_, _> = (0..10).map(|n| (format!("A{n}"), Secret::from("x".repeat(120_000)))).collect();
        assert_eq!(allow(&many).err().map(|refusal| refusal.rule), Some(Rule::EnvValue));
    }

    #[test]
    fn hooks_are_refused_by_name() {
        for name in HOOKS {
            assert_eq!(rule(name, "something"), Some(Rule::EnvHook), "{name}");
        }
        for name in [
            "LD_PRELOAD",
            "LD_AUDIT",
            "LD_LIBRARY_PATH",
            "DYLD_INSERT_LIBRARIES",
            "BASH_FUNC_ls",
            "LUA_INIT_5_4",
            "GIT_CONFIG_COUNT",
            "CORECLR_PROFILER",
            "NPM_CONFIG_SCRIPT_SHELL",
            "npm_config_script_shell",
            "Npm_Config_Script_Shell",
            "npm_config_shell",
            "npm_config_call",
            "pnpm_config_script_shell",
        ] {
            assert_eq!(rule(name, "something"), Some(Rule::EnvHook), "{name}");
        }
        for name in [
            "PATH",
            "PYTHONPATH",
            "NODE_PATH",
            "NODE_ENV",
            "NODE_EXTRA_CA_CERTS",
            "SSL_CERT_FILE",
            "REQUESTS_CA_BUNDLE",
            "HTTPS_PROXY",
            "no_proxy",
            "PYTHONUNBUFFERED",
            "PYTHONIOENCODING",
            "npm_config_registry",
            "UV_INDEX_URL",
            "ENVIRONMENT",
            "MY_ENV",
            "GITHUB_TOKEN",
            "LDAP_URL",
            "LD_SDK_KEY",
            "HOME",
            "OPENSSL_CONFIGURED",
        ] {
            assert_eq!(rule(name, "something"), None, "{name}");
        }
    }

    #[test]
    fn cases_are_told_apart_where_the_system_does() {
        let expect = cfg!(windows).then_some(Rule::EnvHook);
        assert_eq!(rule("ld_preload", "x"), expect);
        assert_eq!(rule("env", "production"), expect);
    }

    #[test]
    fn node_options_that_load_code_are_refused() {
        for bad in [
            "--require ./x.js",
            "--require=./x.js",
            "-r ./x.js",
            "--max-old-space-size=4096 -r x",
            "--import data:text/javascript,1",
            "--import=x",
            "--experimental-loader x",
            "--experimental_loader=x",
            "--loader=x",
            "--inspect",
            "--inspect=0.0.0.0:9229",
            "--inspect-brk",
            "--inspect_brk",
            "--inspect-port=1",
            "\"--require\" x",
            "--re\"quire\"=x",
            "\"--req\\uire=x\"",
            "--eval=1",
            "--env-file=x",
            "--test --test-reporter=data:text/javascript,1",
            "--test-global-setup=x",
            "--openssl-config=x",
            "  --require  x",
            "\"--require=x",
        ] {
            assert_eq!(rule("NODE_OPTIONS", bad), Some(Rule::EnvHook), "{bad}");
            assert_eq!(rule("npm_config_node_options", bad), Some(Rule::EnvHook), "{bad}");
        }
        for good in [
            "",
            "--max-old-space-size=4096",
            "--no-warnings --enable-source-maps",
            "--dns-result-order=ipv4first",
            "--use-openssl-ca",
            "--title=\"a --require b\"",
            "--trace-warnings",
            "--no-experimental-require-module",
        ] {
            assert_eq!(rule("NODE_OPTIONS", good), None, "{good}");
        }
    }

    #[test]
    fn warnings_of_python_may_not_import() {
        assert_eq!(rule("PYTHONWARNINGS", "ignore"), None);
        assert_eq!(rule("PYTHONWARNINGS", "ignore::DeprecationWarning,default:::my.module"), None);
        assert_eq!(rule("PYTHONWARNINGS", "all:0:antigravity.x:0:0"), Some(Rule::EnvHook));
    }
}
