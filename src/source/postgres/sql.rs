//! SQL cut into statements and words, as the server does: strings, quoted names, dollar quotes and comments hold no `;`.

use crate::error::{Error, Result};

/// A piece of a statement. Comments and white space are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// A key word or plain name, in lower case.
    Plain(String),
    /// A quoted name, without its quotes.
    Quoted(String),
    /// A string of any kind; its text is not looked at.
    Text,
    /// Any other sign.
    Sign(char),
}

impl Word {
    /// The name that it is.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Plain(name) | Self::Quoted(name) => Some(name),
            Self::Text | Self::Sign(_) => None,
        }
    }

    pub(super) fn is(&self, key_word: &str) -> bool {
        matches!(self, Self::Plain(word) if word == key_word)
    }
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// As it stands, with its `;`, without comments before it.
    pub(super) text: String,
    /// Its words, without the `;`.
    pub(super) words: Vec<Word>,
}

/// Cuts a script into its statements. A line of psql's own commands is an error, but for `\restrict` and `\unrestrict`.
pub(super) fn statements(script: &str) -> Result<Vec<Statement>> {
    let mut lexer = Lexer { text: script, at: 0 };
    let mut statements = Vec::new();
    let (mut words, mut begin) = (Vec::new(), None);
    while let Some((from, token)) = lexer.next()? {
        match token {
            Token::Meta if words.is_empty() => continue,
            Token::Meta => return Err(Error::damage("a command of psql stands inside a statement")),
            Token::End => {
                if let Some(begin) = begin.take() {
                    let text = script.get(begin..lexer.at).unwrap_or_default().to_owned();
                    statements.push(Statement { text, words: std::mem::take(&mut words) });
                }
            }
            Token::Word(word) => {
                begin.get_or_insert(from);
                words.push(word);
            }
        }
    }
    if words.is_empty() { Ok(statements) } else { Err(Error::damage("the last statement has no end")) }
}

enum Token {
    Word(Word),
    End,
    Meta,
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn next(&mut self) -> Result<Option<(usize, Token)>> {
        loop {
            self.take_while(char::is_whitespace);
            if self.rest().starts_with("--") {
                self.take_while(|c| c != '\n');
            } else if self.rest().starts_with("/*") {
                self.comment()?;
            } else {
                break;
            }
        }
        let from = self.at;
        let Some(first) = self.rest().chars().next() else { return Ok(None) };
        let word = match first {
            ';' => {
                self.at += 1;
                return Ok(Some((from, Token::End)));
            }
            '\\' => {
                let line = self.take_while(|c| c != '\n');
                return match line.split_ascii_whitespace().next() {
                    Some("\\restrict" | "\\unrestrict") => Ok(Some((from, Token::Meta))),
                    _ => Err(Error::damage("a command of psql stands among the statements")),
                };
            }
            '\'' => self.string(false)?,
            '"' => self.quoted()?,
            '$' => self.dollar()?,
            _ if first.is_alphabetic() || first == '_' => {
                let word = self.take_while(|c| c.is_alphanumeric() || "_$".contains(c)).to_lowercase();
                match (word.as_str(), self.rest().chars().next()) {
                    ("e", Some('\'')) => self.string(true)?,
                    ("b" | "x" | "n", Some('\'')) => self.string(false)?,
                    _ => Word::Plain(word),
                }
            }
            _ if first.is_ascii_digit() => {
                Word::Plain(self.take_while(|c| c.is_ascii_alphanumeric() || c == '.').to_owned())
            }
            _ => {
                self.at += first.len_utf8();
                Word::Sign(first)
            }
        };
        Ok(Some((from, Token::Word(word))))
    }

    fn comment(&mut self) -> Result<()> {
        let mut depth = 0_u32;
        loop {
            let rest = self.rest();
            if rest.starts_with("/*") {
                depth += 1;
                self.at += 2;
            } else if rest.starts_with("*/") {
                depth -= 1;
                self.at += 2;
            } else {
                match rest.chars().next() {
                    Some(c) => self.at += c.len_utf8(),
                    None => return Err(Error::damage("a comment has no end")),
                }
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn string(&mut self, backslashes: bool) -> Result<Word> {
        self.at += 1;
        let mut rest = self.rest().char_indices().peekable();
        while let Some((at, c)) = rest.next() {
            match c {
                '\\' if backslashes => drop(rest.next()),
                '\'' if rest.peek().is_some_and(|(_, c)| *c == '\'') => drop(rest.next()),
                '\'' => {
                    self.at += at + 1;
                    return Ok(Word::Text);
                }
                _ => {}
            }
        }
        Err(Error::damage("a string has no end"))
    }

    fn quoted(&mut self) -> Result<Word> {
        self.at += 1;
        let mut name = String::new();
        let mut rest = self.rest().char_indices().peekable();
        while let Some((at, c)) = rest.next() {
            match c {
                '"' if rest.peek().is_some_and(|(_, c)| *c == '"') => {
                    rest.next();
                    name.push('"');
                }
                '"' => {
                    self.at += at + 1;
                    return Ok(Word::Quoted(name));
                }
                c => name.push(c),
            }
        }
        Err(Error::damage("a quoted name has no end"))
    }

    fn dollar(&mut self) -> Result<Word> {
        let rest = self.rest();
        let tag = rest.get(1..).and_then(|after| after.find('$')).map(|end| &rest[..end + 2]);
        let is_tag = |tag: &&str| tag[1..tag.len() - 1].chars().all(|c| c.is_alphanumeric() || c == '_');
        match tag.filter(is_tag) {
            None => {
                self.at += 1;
                Ok(Word::Sign('$'))
            }
            Some(tag) => {
                let body = &rest[tag.len()..];
                let end = body.find(tag).ok_or_else(|| Error::damage("a dollar quote has no end"))?;
                self.at += tag.len() + end + tag.len();
                Ok(Word::Text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(script: &str) -> Vec<String> {
        statements(script).unwrap().into_iter().map(|s| s.text).collect()
    }

    #[test]
    fn what_is_quoted_ends_no_statement() {
        assert_eq!(
            texts("a ';' \"x;\"\"y\" ;\n-- c;\nb $t$ ; $x$ $t$ /* ; /* ; */ */ E'\\';' $1; ;"),
            ["a ';' \"x;\"\"y\" ;", "b $t$ ; $x$ $t$ /* ; /* ; */ */ E'\\';' $1;"]
        );
        assert_eq!(texts("COMMENT ON ROLE x IS 'a\n\\! rm\n';"), ["COMMENT ON ROLE x IS 'a\n\\! rm\n';"]);
        assert_eq!(texts("-- nothing\n"), Vec::<String>::new());
    }

    #[test]
    fn a_script_that_ends_too_early_is_an_error() {
        for bad in ["a", "a 'x;", "a \"x;", "a $$ ;", "/* ;", "a $x$ $$ ;"] {
            assert!(statements(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn commands_of_psql_are_never_taken_for_sql() {
        assert_eq!(texts("\\restrict k\na;\n\\unrestrict k\n"), ["a;"]);
        for bad in ["\\! id\n", "a; \\c other\n", "a \\g\n;", "a \\unrestrict k\n;"] {
            assert!(statements(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn words_are_names_and_signs() {
        let words = &statements("ALTER Role \"\u{fc} \"\"x\" SET a.b = 'c';").unwrap()[0].words;
        assert!(words[0].is("alter") && words[1].is("role"));
        assert_eq!(words[2].name(), Some("\u{fc} \"x"));
        assert!(!Word::Quoted("alter".into()).is("alter"));
        assert_eq!(words.last(), Some(&Word::Text));
    }
}
