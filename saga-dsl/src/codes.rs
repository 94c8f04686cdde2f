//! Every code a diagnostic can carry, with the text behind `saga explain CODE`.
//!
//! A code's number never changes its meaning and is never used again for another. The first digit groups them:
//! 0 the text, 1 the shape, 2 names and types, 3 order and the pivot, 4 participants, 6 doubts, 7 remarks.

use std::{fmt, str::FromStr};

use crate::diagnostic::Severity;

macro_rules! codes {
    ($($code:ident $severity:ident $title:literal $explanation:literal)*) => {
        /// A stable code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs, reason = "each has its title")]
        pub enum Code { $(#[doc = $title] $code,)* }

        impl Code {
            /// Every code there is, in order.
            pub const ALL: &[Code] = &[$(Code::$code,)*];

            /// The code as screens show it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$code => stringify!($code),)* }
            }

            /// What it is about, in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$code => $title,)* }
            }

            /// Why it is a fault and how to put it right.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$code => $explanation,)* }
            }

            /// How bad it is.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$code => Severity::$severity,)* }
            }
        }
    };
}

codes! {
    S0001 Error "the file is not UTF-8 text"
        "Saga files are UTF-8 without control characters. Save the file as UTF-8; remove NUL bytes."
    S0002 Error "the file is too large"
        "A definition file has at most 256 KiB. Split the saga, or move data out of the definition."
    S0003 Error "not YAML"
        "The text cannot be read as YAML 1.2. The usual reasons: an expression or text with `: `, a leading quote, \
         bracket or brace that needs quotes around the whole value; tabs as indentation; a bracket that is not closed."
    S0004 Error "a YAML tag"
        "In YAML a value that begins with `!` is a tag, and the rest of the word silently disappears: `when: !has(x) \
         && y` would be read as `y`. Tags have no meaning in saga files. Quote the value."
    S0005 Error "an anchor, alias or merge key"
        "`&name`, `*name` and `<<` copy parts of a file to other places. A saga file says what it means where it \
         means it; for shared settings there is `defaults`. A value that begins with `&` or `*` needs quotes."
    S0006 Error "a key without a value"
        "After this key there is nothing, which YAML reads as null. Give the value, or remove the key."
    S0007 Error "not exactly one document"
        "A saga file holds one definition: it is not empty, and has no second document after `---`."
    S0008 Error "nested too deeply"
        "Groups nest at most 32 deep, YAML collections at most 100."
    S0101 Error "unknown key"
        "Keys that nobody reads would be mistakes that nobody sees, so every key must be one that is known at its place."
    S0102 Error "an id stands twice"
        "Step ids are unique in the file: outputs are read by id, and the id is part of the idempotency key of a step."
    S0103 Error "a value that is not allowed here"
        "The value has the right shape and is none of those that the key takes."
    S0104 Error "not a usable duration"
        "Durations are whole milliseconds written with units from long to short: `200ms`, `15m`, `1h30m`, `3d`. \
         Zero is refused where it makes no sense, as is an initial delay above the longest delay."
    S0105 Error "not exactly one verb"
        "Each item does one thing: a step has one `action`; a group is one `parallel` or one `sequence`."
    S0106 Error "a key stands twice"
        "YAML readers keep the first or the last of two equal keys, each as it likes. Remove one."
    S0107 Error "a required key is missing"
        "Without this key the definition says too little to be run."
    S0108 Error "a value of the wrong shape"
        "The key takes a text, a number, a list or a map, and something else is written there."
    S0109 Error "not supported by this release"
        "The construct belongs to the language of saga files and this release cannot run it yet. It is refused \
         rather than ignored."
    S0110 Error "too many steps"
        "A definition has at most 200 steps."
    S0201 Error "not an expression"
        "Expressions are a subset of CEL. A text that is not an expression cannot be evaluated."
    S0202 Error "unknown name"
        "Expressions see `input`, `steps.<id>.output`, `.status`, `.error` and `saga`; a compensation's input also \
         `self`. `idempotency_key` is computed before anything runs and sees `input` only."
    S0203 Error "wrong type"
        "The value has another type than its place asks for; `when` must be true or false."
    S0204 Error "reads a step that is not earlier"
        "A step may read the outputs of steps that are settled before it starts: those before it in its sequence \
         and those before the groups around it. Its own output, later ones and those of parallel siblings are not there."
    S0205 Error "reads what may be absent"
        "The output of a step that may be skipped, an optional field, or `self.output` of an action whose outcome is \
         unknown may be absent. Guard the read: `has(x) ? x : …`."
    S0206 Error "`${…}` where an expression is expected"
        "`when` always is an expression and is written bare: `when: input.amount > 100`."
    S0207 Error "two fields of one name"
        "A pick list names each field by the last segment of its path; two entries with the same last segment would \
         overwrite each other. Use a map instead: `input: {a: ${…}, b: ${…}}`."
    S0208 Error "an expression that is too large"
        "Expressions have at most 4 KiB and a depth of 32."
    S0301 Error "a second pivot"
        "The pivot is the point of no return: a saga has one. What comes after it is `retriable`."
    S0302 Error "a pivot inside `parallel`"
        "Beside a pivot nothing else may run: while its siblings are undecided nobody could say whether the saga \
         is past the point of no return. Put the pivot before or after the group."
    S0303 Error "no compensation before the pivot"
        "Everything before the pivot must be undone when the saga fails, so every step there says what undoes it. \
         Where nothing needs undoing, say so: `compensation: none`."
    S0304 Error "a compensation that could never run"
        "A pivot or a retriable step is never undone. Remove the compensation, or make the step compensatable."
    S0305 Error "a step on the wrong side of the pivot"
        "After the pivot there is no way back, so every step there must be `kind: retriable`; and a retriable step \
         needs a pivot before it, or its saga could neither go on nor be undone."
    S0401 Error "an action that the participant does not serve"
        "The participant has registered, and not with this action. Check the spelling, or start the release of the \
         participant that serves it, so that it registers."
    S0402 Error "a compensation of another participant"
        "A participant undoes what it did itself: its inbox proves whether the action took effect, and another \
         participant's inbox knows nothing of it. Sent there, the undo would find nothing, and each such saga would \
         wait for an operator. Name an action of the same participant; it may ask the other one."
    S0403 Error "the action's payload does not fit"
        "The participant registered which fields its action takes and of which types; one is missing, unknown, or \
         has another type."
    W0009 Warning "a comment cuts a text"
        "In YAML ` #` begins a comment, also inside of a text without quotes. Quote the text, or put two spaces \
         before the comment to show that it is meant."
    W0601 Warning "timeouts do not fit the deadline"
        "The timeouts of single attempts along the longest path before the pivot take longer than the deadline: \
         a slow but successful run would be compensated."
    W0605 Warning "a compensation that gives up"
        "When the attempts of a compensation are used up the saga stands still until an operator acts. Compensations \
         go on without limit unless a limit is written; `escalate_after` calls an operator while retries go on."
    W0606 Warning "settings for a participant that nobody asks"
        "Under `participants` stands a name that no step and no compensation of this saga speaks to, so its limits do \
         nothing here. Mostly the name is misspelt."
    W0607 Warning "an escape where a value may be meant"
        "`$${` stands for a literal `${`, so no value is put in. Where a dollar sign is to stand before a value, write \
         the sign as an expression: `${'$'}${input.price}`."
    N0701 Note "actions that were not checked"
        "Nothing is known here of the participants, so names and payloads of actions were not checked. They are \
         checked again when the definition is deployed."
    N0702 Note "`compensation: none` without a reason"
        "Readers of the file and operators will ask why nothing needs undoing. Say it in block form: \
         `compensation: {action: none, reason: a read}`."
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no such code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no code `{0}`")]
pub struct UnknownCode(pub String);

impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        let found = Self::ALL
            .iter()
            .find(|code| code.as_str().eq_ignore_ascii_case(text.trim()));
        found.copied().ok_or_else(|| UnknownCode(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_tell_the_severity_and_texts_are_whole() {
        for code in Code::ALL {
            let letter = match code.severity() {
                Severity::Error => 'S',
                Severity::Warning => 'W',
                Severity::Note => 'N',
            };
            assert!(code.as_str().starts_with(letter), "{code}");
            assert!(
                code.explanation().ends_with('.') && !code.explanation().contains("  "),
                "{code}"
            );
            assert!(!code.title().ends_with('.'), "{code}");
            assert_eq!(code.as_str().to_lowercase().parse(), Ok(*code));
        }
        assert_eq!("S9999".parse::<Code>(), Err(UnknownCode("S9999".into())));
    }
}
