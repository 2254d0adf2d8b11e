//! Options before the first word, read by a table of those that take a value.

/// How one program reads its options.
pub(super) struct Grammar {
    /// Long options whose value may be the next argument, without hyphens.
    pub(super) valued: &'static [&'static str],
    /// Long options that stand alone.
    pub(super) alone: &'static [&'static str],
    /// Letters that take a value: the rest of their argument, or the next one.
    pub(super) valued_letters: &'static str,
    pub(super) alone_letters: &'static str,
}

/// One step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// A long option without its hyphens, or a letter, with its value if it has one.
    Option {
        name: &'a str,
        value: Option<&'a str>,
    },
    /// An option that is in no table: the next argument may be its value, or not.
    Doubtful {
        name: &'a str,
    },
    /// The first word, and everything behind it.
    Word {
        word: &'a str,
        rest: &'a [String],
        after_hyphens: bool,
    },
    End,
}

/// Goes through arguments as clap does: `--name value`, `--name=value`, `-abvalue`, `-ab value`, `--`.
pub(super) struct Options<'a> {
    grammar: &'a Grammar,
    rest: &'a [String],
    /// Letters of the current argument that are still to be read.
    letters: &'a str,
}

impl<'a> Options<'a> {
    pub(super) fn new(grammar: &'a Grammar, args: &'a [String]) -> Self {
        Self { grammar, rest: args, letters: "" }
    }

    /// What is not read yet.
    pub(super) fn rest(&self) -> &'a [String] {
        self.rest
    }

    pub(super) fn next(&mut self) -> Step<'a> {
        if let Some(letter) = self.letters.chars().next() {
            return self.letter(letter);
        }
        let [arg, rest @ ..] = self.rest else { return Step::End };
        self.rest = rest;
        if arg == "--" {
            let [word, rest @ ..] = rest else { return Step::End };
            self.rest = rest;
            return Step::Word { word, rest, after_hyphens: true };
        }
        if let Some(long) = arg.strip_prefix("--") {
            return self.long(long);
        }
        match arg.strip_prefix('-') {
            None | Some("") => Step::Word { word: arg, rest, after_hyphens: false },
            Some(letters) => {
                self.letters = letters;
                self.next()
            }
        }
    }

    fn long(&mut self, long: &'a str) -> Step<'a> {
        if let Some((name, value)) = long.split_once('=') {
            return Step::Option { name, value: Some(value) };
        }
        if self.grammar.valued.contains(&long) {
            return Step::Option { name: long, value: self.value() };
        }
        if self.grammar.alone.contains(&long) || long.starts_with("no-") {
            return Step::Option { name: long, value: None };
        }
        Step::Doubtful { name: long }
    }

    fn letter(&mut self, letter: char) -> Step<'a> {
        let (name, rest) = self.letters.split_at(letter.len_utf8());
        if self.grammar.valued_letters.contains(letter) {
            self.letters = "";
            let value = if rest.is_empty() { self.value() } else { Some(rest.strip_prefix('=').unwrap_or(rest)) };
            return Step::Option { name, value };
        }
        self.letters = rest;
        if self.grammar.alone_letters.contains(letter) {
            return Step::Option { name, value: None };
        }
        // Whatever it is, what stands behind it in the same argument belongs to it.
        self.letters = "";
        Step::Doubtful { name }
    }

    fn value(&mut self) -> Option<&'a str> {
        let [value, rest @ ..] = self.rest else { return None };
        self.rest = rest;
        Some(value)
    }
}
