use super::*;

/// A word in braces is one argument.
#[track_caller]
fn found(line: &str) -> Option<String> {
    let mut words = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('{') {
            Some(quoted) => quoted.split_once('}').expect("braces are closed"),
            None => rest.split_once(' ').map_or((rest, ""), |(word, after)| (word, after)),
        };
        words.push(word.to_owned());
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    refuse(&words[0], &words[1..]).err().map(|refusal| {
        assert_eq!(refusal.rule, Rule::InlineCode);
        assert!(refusal.hint.contains("--allow-inline-code"));
        assert!(!refusal.to_string().contains("SECRET"), "{refusal}");
        refusal.what
    })
}

#[track_caller]
fn refused(lines: &[&str]) {
    for line in lines {
        assert!(found(line).is_some(), "passes: {line}");
    }
}

#[track_caller]
fn passes(lines: &[&str]) {
    for line in lines {
        assert_eq!(found(line), None, "refused: {line}");
    }
}

#[test]
fn node() {
    refused(&[
        "node",
        "node -",
        "node --",
        "node -e SECRET",
        "node -p SECRET",
        "node -pe SECRET",
        "node -ep SECRET",
        "node --eval SECRET",
        "node --eval=SECRET",
        "node --print SECRET",
        "node --print=SECRET",
        "node --no-warnings -e SECRET",
        "node --title x -e SECRET",
        "node --title=x --eval SECRET",
        "node -C dev -e SECRET",
        "node -r ./x.js -e SECRET",
        "node --import data:text/javascript,SECRET x.js",
        "node --import=data:text/javascript,SECRET x.js",
        "node --import DATA:text/javascript,SECRET x.js",
        "node --import { da\tt\na:text/javascript,SECRET} x.js",
        "node --loader data:,SECRET x.js",
        "node --experimental-loader data:,SECRET x.js",
        "node --experimental_loader=data:,SECRET x.js",
        "node -r data:,SECRET x.js",
        "node --require=data:,SECRET x.js",
        "node --experimental-default-type=module data:text/javascript,SECRET",
        "node --entry-url data:text/javascript,SECRET",
        "node -i",
        "node --interactive x.js",
        "node --inspect x.js",
        "node --inspect=0.0.0.0:9229 x.js",
        "node --inspect-brk x.js",
        "node --inspect_brk=1 x.js",
        "node inspect x.js",
        "node /dev/stdin",
        "node /dev/fd/0",
        "node --max-old-space-size=100",
        "node --unknown value -e SECRET",
        "node -- -",
    ]);
    passes(&[
        "node server.js",
        "node server.js -e prod",
        "node server.js --eval x --inspect",
        "node -- server.js -e x",
        "node --no-warnings server.js -p 80",
        "node --max-old-space-size=4096 server.js -p 80",
        "node --enable-source-maps dist/index.js -",
        "node --experimental-strip-types server.ts -e x",
        "node -r ./x.js server.js -e x",
        "node --require ./x.js server.js",
        "node --import ./register.mjs server.ts -p 1",
        "node --env-file .env server.js -e x",
        "node --env-file=.env server.js",
        "node --title -e server.js",
        "node --test",
        "node --version",
        "node --run start -- -e",
        "node -c x.js",
        "node --harmony server.js -p 80",
        "node /srv/dev/stdin.js",
    ]);
}

#[test]
fn python() {
    refused(&[
        "python",
        "python3",
        "python -",
        "python -c SECRET",
        "python -cSECRET",
        "python -Ic SECRET",
        "python -uc SECRET",
        "python -OOc SECRET",
        "python -u -c SECRET",
        "python -X dev -c SECRET",
        "python -Xdev -c SECRET",
        "python -W ignore -c SECRET",
        "python -uW ignore -c SECRET",
        "python --check-hash-based-pycs always -c SECRET",
        "python -i server.py",
        "python -ui server.py",
        "python -m timeit SECRET",
        "python -mtimeit SECRET",
        "python -um timeit SECRET",
        "python -m code",
        "python -m pdb -c SECRET x.py",
        "python -m asyncio",
        "python -m uv run python -c SECRET",
        "python -u",
        "python --",
        "python /dev/stdin",
        "python /proc/self/fd/0",
        "python3 -qc SECRET",
    ]);
    passes(&[
        "python server.py",
        "python server.py -c SECRET",
        "python -u server.py -c x",
        "python -m server -c x",
        "python -mserver -c x",
        "python -um server -",
        "python -X utf8 -m server -c x",
        "python -W error server.py -c x",
        "python -Wc server.py",
        "python -Xc server.py",
        "python -- -c",
        "python -V",
        "python --version",
        "python -m http.server",
    ]);
}

#[test]
fn npx() {
    refused(&[
        "npx",
        "npx -y",
        "npx -c SECRET",
        "npx --call SECRET",
        "npx --call=SECRET",
        "npx --cal=SECRET",
        "npx --c SECRET",
        "npx -call SECRET",
        "npx ---call SECRET",
        "npx -yc SECRET",
        "npx --yc SECRET",
        "npx -dc SECRET",
        "npx -c=SECRET",
        "npx -y -c SECRET",
        "npx --yes --call SECRET",
        "npx -p some -c SECRET",
        "npx --package=some -c SECRET",
        "npx --registry https://x -c SECRET",
        "npx -p -c SECRET",
        "npx -p some -- sh -c SECRET",
        "npx -p some sh -c SECRET",
        "npx -y node -e SECRET",
        "npx -y node@20 -e SECRET",
        "npx tsx -e SECRET",
        "npx -y bun -e SECRET",
        "npx deno eval SECRET",
        "npx -y -p node@20 -- node --eval SECRET",
        "npx --script-shell=/tmp/x some",
        "npx --shell x some",
        "npx --node-options=--require=./x.js some",
        "npx --node-options --import=data:,SECRET some",
        "npx -p some",
        "npx cross-env A=1 node -e SECRET",
        "npx -yq node -e SECRET",
        "npx -yq some -c SECRET",
    ]);
    passes(&[
        "npx some",
        "npx -y some -c config.json",
        "npx -y some --call x",
        "npx --yes some@latest -c x",
        "npx -y @scope/some@1.2.3 -c x",
        "npx -p some some-bin -c x",
        "npx --package some -- some-bin -c x",
        "npx --package=some some-bin -e x",
        "npx --cache /tmp/x some",
        "npx --ca x some -c x",
        "npx --prefer-offline some -c x",
        "npx --quiet -y some -c x",
        "npx -q some -c x",
        "npx --no-install some -c x",
        "npx --loglevel=silent some -c x",
        "npx --loglevel silent some -c x",
        "npx --node-options=--max-old-space-size=4096 some",
        "npx -y tsx server.ts -e x",
        "npx -y node@20 server.js -e x",
        "npx --version",
        "npx -yq some",
        "npx -w space some -c x",
        "npx -y mcp-remote https://x/sse --header A",
    ]);
}

#[test]
fn uv() {
    refused(&[
        "uv run python -c SECRET",
        "uv run python",
        "uv run python3.12 -c SECRET",
        "uv run .venv/bin/python -c SECRET",
        "uv run --with x python -c SECRET",
        "uv run -w x python -c SECRET",
        "uv run -wx python -c SECRET",
        "uv run -qp 3.12 python -c SECRET",
        "uv run -- python -c SECRET",
        "uv run -p 3.12 -- python -Ic SECRET",
        "uv run -m timeit SECRET",
        "uv run -qm timeit SECRET",
        "uv run --module -- timeit SECRET",
        "uv run -",
        "uv run --no-project -- -",
        "uv run --script -",
        "uv run /dev/stdin",
        "uv run sh -c SECRET",
        "uv run bash",
        "uv run bash script.sh",
        "uv run /bin/sh",
        "uv run env A=1 bash -c SECRET",
        "uv run nice -n 5 python -c SECRET",
        "uv run uv run python -c SECRET",
        "uv run node -e SECRET",
        "uv run npx -c SECRET",
        "uv run pwsh -Command SECRET",
        "uv run perl -e SECRET",
        "uv --directory /x run python -c SECRET",
        "uv --directory=/x --quiet run sh",
        "uv -q run sh",
        "uv --unknown x run python -c SECRET",
        "uv run --unknown x python -c SECRET",
        "uv run --unknown python -c SECRET",
        "uv tool run bash -c SECRET",
        "uv tool uvx python -c SECRET",
        "uvx python -c SECRET",
        "uvx python",
        "uvx python@3.12 -c SECRET",
        "uvx -q -- python -c SECRET",
        "uvx --from x bash",
        "uvx --from x bash -c SECRET",
        "uvx --with x --python 3.12 python -c SECRET",
        "uvx node -e SECRET",
        "uvx ipython -c SECRET",
        "uvenv run python -c SECRET",
        "uvenv x bash",
        "uvenv run --binary python some -c SECRET",
        "uvenv runpython some -c SECRET",
        "uvenv runpython some -- -c SECRET",
        "uvenv runpython -- some -c SECRET",
        "uvenv runpython some",
        "uvenv run --binary=python some -- -c SECRET",
        "uvenv run some --binary python -- -c SECRET",
        "uvenv run some --binary ../../bin/sh",
        "uvenv runuv some -- run python -c SECRET",
        "uvenv run uvenv -- run uvenv -- run python -- -c SECRET",
        "uvenv runuv some run python -c SECRET",
    ]);
    passes(&[
        "uv",
        "uv run",
        "uv --version",
        "uv run server.py -c x",
        "uv run python server.py -c x",
        "uv run python -m server -c x",
        "uv run --with mcp[cli] mcp run server.py",
        "uv --directory /x run server -c x",
        "uv run --directory /x --project . server.py -",
        "uv run -m server -c x",
        "uv run --script server.py -c x",
        "uv run --frozen --no-dev server",
        "uv tool run some -c x",
        "uv pip install x -c constraints.txt",
        "uvx some -c x",
        "uvx --from git+https://github.com/a/b some -c x",
        "uvx --from x@1.0 some",
        "uvx -c constraints.txt some",
        "uvx some@latest -e x",
        "uvx cmd2 -c x",
        "uvx --python 3.12 some[extra]==1.0 -c x",
        "uvenv run some -c x",
        "uvenv run --python 3.12 some -c x",
        "uvenv run some -- -c x",
        "uvenv run --with python some -- -c x",
        "uvenv runpython some server.py -c x",
        "uvenv runpython some -- server.py -c x",
        "uvenv list",
    ]);
}

#[test]
fn interpreters_that_an_operator_allows() {
    refused(&[
        "sh -c SECRET",
        "/bin/sh -c SECRET",
        "bash -lc SECRET",
        "bash -o pipefail -c SECRET",
        "bash --norc -c SECRET",
        "bash --rcfile x -c SECRET",
        "zsh -ic SECRET",
        "sh -s",
        "sh",
        "sh -",
        "sh /dev/stdin",
        "busybox sh -c SECRET",
        "fish --command=SECRET",
        "cmd /c SECRET",
        "pwsh -c SECRET",
        "powershell -EncodedCommand SECRET",
        "perl -e SECRET",
        "perl -lane SECRET",
        "perl -MFoo -e SECRET",
        "perl -I lib -e SECRET",
        "ruby -e SECRET",
        "ruby -rjson -e SECRET",
        "php -r SECRET",
        "php -d x=1 -r SECRET",
        "lua -e SECRET",
        "deno eval SECRET",
        "deno",
        "deno repl",
        "deno run -",
        "deno run -A data:text/javascript,SECRET",
        "bun -e SECRET",
        "bun --eval SECRET",
        "bun run -",
        "bun exec SECRET",
        "bun x node -e SECRET",
        "bunx sh -c SECRET",
        "npm exec -c SECRET",
        "npm exec some -c SECRET",
        "npm x --call=SECRET",
        "pnpm dlx -c SECRET",
        "pnpm exec node -e SECRET",
        "env A=1 sh -c SECRET",
        "/usr/bin/env node -e SECRET",
        "awk SECRET",
        "python3.12 -c SECRET",
        "Python.exe -c SECRET",
    ]);
    passes(&[
        "docker run -i --rm -e TOKEN mcp/server -c x",
        "bash server.sh -c x",
        "bash -x server.sh -c x",
        "sh -o errexit server.sh",
        "perl server.pl -e x",
        "perl -w -Ilib server.pl",
        "ruby server.rb -e x",
        "php server.php -r x",
        "deno run -A server.ts -e x",
        "deno run jsr:@x/y",
        "bun server.ts -e x",
        "bun run start -e x",
        "pnpm dlx some -c x",
        "npm exec -- some -c x",
        "npm run start -- -c x",
        "dnx Some.Server -c x",
        "pwsh -File server.ps1 -Command x",
        "awk -f x.awk",
        "env A=1 node server.js -e x",
        "/opt/server -c x",
    ]);
}

/// Programs that start programs are read in a time that grows with their number, not with its power.
#[test]
fn a_long_chain_is_read_in_no_time() {
    for words in [["env", "env"], ["uv", "run"], ["npx", "--x"], ["env", "uv"]] {
        let args: Vec<String> = words.into_iter().cycle().take(1023).map(str::to_owned).collect();
        let begun = std::time::Instant::now();
        let _ = refuse("env", &args);
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{words:?}");
    }
}
