//! The one place that prints errors and chooses their exit code.

use super::{Terminal, worded};
use crate::error::Error;

/// Exit code of a run that was done, but with problems.
pub(crate) const DONE_WITH_PROBLEMS: u8 = 3;
/// Exit code of a run that found damage.
pub(crate) const DAMAGE_FOUND: u8 = 4;

/// Prints an error with causes and hint to stderr, or as the JSON document on stdout; gives the exit code.
pub fn report(terminal: &Terminal, error: &Error, json: bool) -> u8 {
    let (message, causes) = (error.to_string(), causes(error));
    let hint = error.advice().map(worded);
    // A run that printed its document already has no room for another one on stdout.
    let printed = json && !terminal.has_document() && {
        let error = serde_json::json!({
            "kind": error.kind().name(), "message": message, "causes": causes, "hint": hint,
        });
        terminal.print_json(&serde_json::json!({ "error": error })).and_then(|()| terminal.flush()).is_ok()
    };
    if !printed {
        terminal.label("error", "1;31", &message);
        for cause in &causes {
            terminal.label("  caused by", "", cause);
        }
        if let Some(hint) = hint {
            terminal.label("hint", "", &hint);
        }
    }
    error.kind().exit_code()
}

/// The chain of causes, without those that say again what was just said.
fn causes(error: &Error) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !text.is_empty() && !said.contains(&text) {
            causes.push(text.clone());
            said = text;
        }
        cause = error.source();
    }
    causes
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::error::{Context as _, Kind};

    fn error() -> Error {
        let cause: Result<(), _> = Err(io::Error::new(io::ErrorKind::NotFound, "no\u{202e} such\nfile"));
        let error = cause.at("cannot read", "/x\x1b[2J").unwrap_err();
        error.within("cannot restore 20260131-040506").hint("look\x07 there")
    }

    #[test]
    fn message_causes_and_hint_are_three_things_and_harmless() {
        let (terminal, out, err) = Terminal::captured();
        assert_eq!(report(&terminal, &error(), false), 1);
        assert_eq!(out.text(), "");
        assert_eq!(
            err.text(),
            "error: cannot restore 20260131-040506\n  caused by: cannot read /x\\x1b[2J\n  \
             caused by: no\\u{202e} such\n  file\nhint: look\\x07 there\n"
        );
    }

    #[test]
    fn a_json_run_gets_one_document_on_stdout() {
        let (terminal, out, err) = Terminal::captured();
        assert_eq!(report(&terminal, &error(), true), 1);
        let document: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
        assert_eq!(document["error"]["kind"], "failed");
        assert_eq!(document["error"]["message"], "cannot restore 20260131-040506");
        assert_eq!(document["error"]["causes"].as_array().unwrap().len(), 2);
        assert_eq!(document["error"]["hint"], "look\x07 there");
        assert_eq!(err.text(), "");
        let (terminal, out, _) = Terminal::captured();
        report(&terminal, &Error::usage("x"), true);
        assert!(out.text().contains("\"hint\": null") && out.text().contains("\"causes\": []"), "{}", out.text());
    }

    #[test]
    fn there_is_never_a_second_document() {
        let (terminal, out, err) = Terminal::captured();
        terminal.print_json(&1).unwrap();
        assert_eq!(report(&terminal, &error(), true), 1);
        assert_eq!(out.text(), "1\n");
        assert!(err.text().starts_with("error: "), "{}", err.text());
    }

    #[test]
    fn a_cause_that_repeats_its_effect_is_left_out() {
        let inner = Error::failed("disk full");
        let outer = Error::failed("cannot write: disk full").because(inner);
        assert!(causes(&outer).is_empty());
    }

    #[test]
    fn exit_codes_follow_the_kind() {
        let (terminal, ..) = Terminal::captured();
        for (kind, code) in [
            (Kind::Failed, 1),
            (Kind::NotFound, 1),
            (Kind::Usage, 2),
            (Kind::Damage, 4),
            (Kind::Locked, 5),
            (Kind::NotConfirmed, 5),
            (Kind::Interrupted(2), 130),
            (Kind::Interrupted(15), 143),
        ] {
            assert_eq!(report(&terminal, &Error::new(kind, "x"), false), code, "{kind:?}");
        }
    }
}
