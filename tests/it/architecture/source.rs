//! Just enough of Rust's grammar to know what a file imports: tokens, product code without test code, paths.
//!
//! Owns the reading of sources and no rule. Invariant: in doubt it reads too much rather than too little, so that what it
//! misreads shows up as a violation. Files are found as the compiler finds them, from `lib.rs` on, by their `mod` lines.

use std::path::{Path, PathBuf};

/// A token of a source file; white space and comments are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Word(String),
    /// The contents of a string literal.
    Text(String),
    Mark(char),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    /// Counted from 1.
    pub line: usize,
}

impl Token {
    fn is(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }

    fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// A module's own file.
#[derive(Debug)]
pub struct Module {
    /// `["store", "mongo"]`; empty for the crate's root.
    pub path: Vec<String>,
    pub file: PathBuf,
    /// Its product code.
    pub tokens: Vec<Token>,
}

/// A path that a file names, from the crate's root or from that of another crate.
#[derive(Debug, PartialEq, Eq)]
pub struct Import {
    /// `["crate", "store", "Store"]`, `["std", "env"]`; a glob ends in `*`.
    pub path: Vec<String>,
    pub line: usize,
}

/// Every module of the crate whose sources are in `src`, test modules left out. A further program's modules are those of
/// `bin`, where `crate` still means the library.
pub fn modules(src: &Path) -> Vec<Module> {
    let mut found = Vec::new();
    let mut ahead = vec![(Vec::new(), src.join("lib.rs")), (vec!["main".to_owned()], src.join("main.rs"))];
    for program in std::fs::read_dir(src.join("bin")).expect("a directory of programs") {
        let program = program.expect("an entry");
        let name = program.file_name().to_string_lossy().into_owned();
        ahead.push((vec!["bin".to_owned(), name], program.path().join("main.rs")));
    }
    while let Some((path, file)) = ahead.pop() {
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let tokens = without_tests(&tokens(&text));
        for child in children(&tokens) {
            let path: Vec<String> = path.iter().cloned().chain(child).collect();
            let stem = path.iter().fold(src.to_path_buf(), |dir, name| dir.join(name));
            let flat = stem.with_extension("rs");
            let file = if flat.exists() { flat } else { stem.join("mod.rs") };
            ahead.push((path, file));
        }
        found.push(Module { path, file, tokens });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The modules that a file declares and that live in files of their own, by their path below it. One with a `#[path]` lives
/// elsewhere: that is how the tests lend a file.
fn children(tokens: &[Token]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for_each_place(tokens, &[], |at, inside| {
        if let [word, name, end, ..] = &tokens[at..]
            && word.word() == Some("mod")
            && end.is(';')
            && let Some(name) = name.word()
            && !is_lent(&tokens[..at])
        {
            found.push(inside.iter().cloned().chain([name.to_owned()]).collect());
        }
        at + 1
    });
    found
}

/// Whether the tokens before a `mod` end with `#[path = "…"]`.
fn is_lent(before: &[Token]) -> bool {
    matches!(before, [.., open, path, equals, Token { kind: Kind::Text(_), .. }, close]
        if open.is('[') && path.word() == Some("path") && equals.is('=') && close.is(']'))
}

/// All paths of `module` that begin at the crate's root, in its surroundings or in another crate.
pub fn imports(module: &Module) -> Vec<Import> {
    let mut found = Vec::new();
    imports_of(&module.tokens, &module.path, &mut found);
    found
}

fn imports_of(tokens: &[Token], own: &[String], found: &mut Vec<Import>) {
    for_each_place(tokens, own, |at, inside| {
        let token = &tokens[at];
        match &token.kind {
            // `#[serde(with = "crate::x")]` is a path as well.
            Kind::Text(text) if ["crate::", "super::", "self::"].iter().any(|start| text.starts_with(start)) => {
                let mut named = Vec::new();
                imports_of(&self::tokens(text), inside, &mut named);
                found.extend(named.into_iter().map(|i| Import { line: token.line, ..i }));
            }
            Kind::Word(_) if begins_path(tokens, at) => {
                let mut paths = Vec::new();
                let end = walk(tokens, at, &Start::Anywhere(inside), &mut paths);
                found.extend(paths.into_iter().map(|path| Import { path, line: token.line }));
                return end.max(at + 1);
            }
            _ => {}
        }
        at + 1
    });
}

/// Visits every token with the module it stands in; `visit` answers where to go on.
fn for_each_place(tokens: &[Token], own: &[String], mut visit: impl FnMut(usize, &[String]) -> usize) {
    let mut inside = own.to_vec();
    // For each open brace whether a module began with it.
    let mut braces = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        if token.is('{') {
            let name = match &tokens[at.saturating_sub(2)..at] {
                [word, name] if word.word() == Some("mod") => name.word(),
                _ => None,
            };
            braces.push(name.is_some());
            inside.extend(name.map(str::to_owned));
        } else if token.is('}') && braces.pop() == Some(true) {
            inside.pop();
        }
        at = visit(at, &inside);
    }
}

/// A word followed by `::` and not itself part of a longer path. `<T as X>::Y` and `.field` begin none.
fn begins_path(tokens: &[Token], at: usize) -> bool {
    let colons = |a: usize| tokens.get(a).is_some_and(|t| t.is(':')) && tokens.get(a + 1).is_some_and(|t| t.is(':'));
    let before = at.checked_sub(2).is_some_and(colons);
    // A leading `::` stands for another crate.
    let joined = before && at >= 3 && matches!(&tokens[at - 3].kind, Kind::Word(_) | Kind::Mark('>'));
    colons(at + 1) && !joined
}

enum Start<'a> {
    /// `crate`, `self`, `super`, another crate or a name in scope; in the module given.
    Anywhere(&'a [String]),
    /// Behind these segments.
    Behind(Vec<String>),
}

/// Follows one path with its groups from `at`; answers where it ends.
fn walk(tokens: &[Token], at: usize, start: &Start<'_>, paths: &mut Vec<Vec<String>>) -> usize {
    let word = |a: usize| tokens.get(a).and_then(Token::word);
    let is = |a: usize, mark: char| tokens.get(a).is_some_and(|t| t.is(mark));
    if is(at, '{') {
        let mut next = at + 1;
        while next < tokens.len() && !is(next, '}') {
            let inner = match start {
                Start::Anywhere(inside) => Start::Anywhere(inside),
                Start::Behind(path) => Start::Behind(path.clone()),
            };
            next = walk(tokens, next, &inner, paths);
            // `as name` and the comma.
            while next < tokens.len() && !is(next, ',') && !is(next, '}') {
                next += 1;
            }
            next += usize::from(is(next, ','));
        }
        return next + 1;
    }
    let name = match tokens.get(at).map(|t| &t.kind) {
        Some(Kind::Word(name)) => name.clone(),
        Some(Kind::Mark('*')) => "*".to_owned(),
        _ => return at,
    };
    let root = |inside: &[String]| std::iter::once("crate".to_owned()).chain(inside.iter().cloned()).collect();
    let path = match (start, name.as_str()) {
        (Start::Anywhere(_), "crate" | "cast_ghl_provider") => vec!["crate".to_owned()],
        (Start::Anywhere(inside), "self") => root(inside),
        (Start::Anywhere(inside), "super") => root(&inside[..inside.len().saturating_sub(1)]),
        (Start::Anywhere(_), _) => vec![name],
        (Start::Behind(path), "self") => path.clone(),
        (Start::Behind(path), "super") => path[..path.len().saturating_sub(1).max(1)].to_vec(),
        (Start::Behind(path), _) => path.iter().cloned().chain([name]).collect(),
    };
    let goes_on = is(at + 1, ':') && is(at + 2, ':') && (word(at + 3).is_some() || is(at + 3, '{') || is(at + 3, '*'));
    if goes_on {
        return walk(tokens, at + 3, &Start::Behind(path), paths);
    }
    paths.push(path);
    at + 1
}

/// Leaves out items behind `#[cfg(test)]` or `#[cfg(all(test, …))]`; fields and arms behind one stay.
pub fn without_tests(tokens: &[Token]) -> Vec<Token> {
    const ITEMS: [&str; 14] = [
        "async",
        "const",
        "enum",
        "extern",
        "fn",
        "impl",
        "macro_rules",
        "mod",
        "pub",
        "static",
        "struct",
        "trait",
        "type",
        "use",
    ];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let mut end = at;
        let mut for_tests = false;
        while let Some(after) = attribute(tokens, end) {
            for_tests |= is_for_tests(&tokens[end..after]);
            end = after;
        }
        let item = tokens.get(end).and_then(Token::word).is_some_and(|word| ITEMS.contains(&word));
        if for_tests && item {
            at = item_end(tokens, end);
        } else {
            let until = end.max(at + 1);
            kept.extend_from_slice(&tokens[at..until]);
            at = until;
        }
    }
    kept
}

/// Where the attribute that begins at `at` ends.
fn attribute(tokens: &[Token], at: usize) -> Option<usize> {
    (tokens.get(at)?.is('#') && tokens.get(at + 1)?.is('[')).then(|| group_end(tokens, at + 1))
}

fn is_for_tests(attribute: &[Token]) -> bool {
    let words: Vec<&str> = attribute.iter().filter_map(Token::word).collect();
    matches!(words.as_slice(), ["cfg", "test"] | ["cfg", "all", "test", ..])
}

/// Where an item ends: behind its `;` or its braces.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    while at < tokens.len() {
        match tokens[at].kind {
            Kind::Mark(';') => return at + 1,
            Kind::Mark('{') => return group_end(tokens, at),
            Kind::Mark('(' | '[') => at = group_end(tokens, at),
            _ => at += 1,
        }
    }
    at
}

/// Behind the bracket that closes the one at `at`.
fn group_end(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, token) in tokens[at..].iter().enumerate() {
        match token.kind {
            Kind::Mark('(' | '[' | '{') => depth += 1,
            Kind::Mark(')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + offset + 1;
        }
    }
    tokens.len()
}

/// Reads a source into tokens.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut reader = Reader { rest: text, line: 1 };
    let mut found = Vec::new();
    while let Some(token) = reader.next() {
        found.push(token);
    }
    found
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<Token> {
        loop {
            let first = self.rest.chars().next()?;
            let line = self.line;
            let kind = if first.is_whitespace() {
                self.skip(first.len_utf8());
                continue;
            } else if self.rest.starts_with("//") {
                self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
                continue;
            } else if self.rest.starts_with("/*") {
                self.block_comment();
                continue;
            } else if let Some((open, close)) = string_marks(self.rest) {
                Kind::Text(self.string(open, &close))
            } else if first == '_' || first.is_alphanumeric() {
                let raw = self.rest.strip_prefix("r#").map_or(0, |_| 2);
                let end = self.rest[raw..].find(|c: char| c != '_' && !c.is_alphanumeric());
                let end = end.map_or(self.rest.len(), |end| end + raw);
                let word = self.rest[raw..end].to_owned();
                self.skip(end);
                Kind::Word(word)
            } else if first == '\'' {
                let length = char_literal(self.rest).unwrap_or(1);
                self.skip(length);
                Kind::Mark('\'')
            } else {
                self.skip(first.len_utf8());
                Kind::Mark(first)
            };
            return Some(Token { kind, line });
        }
    }

    fn skip(&mut self, bytes: usize) {
        let (gone, rest) = self.rest.split_at(bytes);
        self.line += gone.matches('\n').count();
        self.rest = rest;
    }

    /// They nest.
    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        loop {
            if self.rest.starts_with("/*") {
                depth += 1;
                self.skip(2);
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.skip(2);
            } else if let Some(c) = self.rest.chars().next() {
                self.skip(c.len_utf8());
            }
            if depth == 0 || self.rest.is_empty() {
                return;
            }
        }
    }

    fn string(&mut self, open: usize, close: &str) -> String {
        self.skip(open);
        let raw = close.len() > 1 || self.rest.is_empty();
        let mut end = 0;
        while end < self.rest.len() && !self.rest[end..].starts_with(close) {
            let step = if !raw && self.rest[end..].starts_with('\\') { 1 } else { 0 };
            end += step;
            end += self.rest[end..].chars().next().map_or(0, char::len_utf8);
        }
        let text = self.rest[..end].to_owned();
        self.skip((end + close.len()).min(self.rest.len()));
        text
    }
}

/// The length of a string literal's opening and its closing, where one begins. A raw string without `#` closes like a
/// plain one, and none of ours ends in a backslash.
fn string_marks(rest: &str) -> Option<(usize, String)> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|p| {
        rest.strip_prefix(p).is_some_and(|r| r.starts_with('"') || (p.ends_with('r') && r.starts_with('#')))
    })?;
    let after = &rest[prefix.len()..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    // `r#word` is a word.
    after[hashes..].starts_with('"').then(|| (prefix.len() + hashes + 1, format!("\"{}", "#".repeat(hashes))))
}

/// The length of a character literal; `None` for a lifetime.
fn char_literal(rest: &str) -> Option<usize> {
    let mut inner = rest[1..].char_indices();
    let (_, first) = inner.next()?;
    if first == '\\' {
        // `'\''` is four long; `'\u{…}'` ends at the next quote.
        let from = 3;
        return rest.get(from..)?.find('\'').map(|end| from + end + 1);
    }
    let (end, quote) = inner.next()?;
    (quote == '\'').then_some(1 + end + 1)
}
