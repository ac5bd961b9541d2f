//! `.execute database script`: commands one behind the other.

use gantry_kql::command::{Properties, Text, masked};

use super::answers::{Answer, guid, text};
use super::{Answered, Run, flag, kind_of, only_known};
use crate::journal::new_guid;
use crate::warehouse::Rejected;

/// Commands of one script.
const COMMANDS_MAX: usize = 1_000;

pub(super) fn run(run: &Run, properties: &Properties, commands: &[Text]) -> Answered {
    only_known(properties, &["ContinueOnErrors", "ThrowOnErrors"])?;
    let goes_on = flag(properties, "ContinueOnErrors")?;
    let throws = flag(properties, "ThrowOnErrors")?;
    if commands.is_empty() {
        return Err(Rejected::Wrong("the script has no command".into()));
    }
    if commands.len() > COMMANDS_MAX {
        return Err(Rejected::Wrong(format!("a script has at most {COMMANDS_MAX} commands")));
    }
    let mut answer = Answer::of("ExecuteDatabaseScript");
    let mut failed = false;
    for command in commands {
        let kind = kind_of(&command.text);
        let nested = kind == "ExecuteDatabaseScript";
        let ran = match failed && !goes_on {
            true => Err(Rejected::Wrong("not run: a command before it failed".into())),
            false if nested => Err(Rejected::Wrong("a script within a script is not run".into())),
            false => super::run_one(run.warehouse, run.ask, &run.in_place(command)).and_then(|tables| {
                let failure = tables.into_iter().find_map(|table| table.failure);
                failure.map_or(Ok(()), |error| Err(Rejected::Run(error)))
            }),
        };
        let skipped = failed && !goes_on;
        if let (Err(wrong), true, false) = (&ran, throws, skipped) {
            return Err(wrong.clone());
        }
        failed |= ran.is_err();
        answer.row(&[
            ("OperationId", guid(&new_guid())),
            ("CommandType", text(kind)),
            ("CommandText", text(masked(&command.text))),
            (
                "Result",
                text(if skipped {
                    "Skipped"
                } else if ran.is_ok() {
                    "Completed"
                } else {
                    "Failed"
                }),
            ),
            ("Reason", text(ran.err().map(|wrong| wrong.to_string()).unwrap_or_default())),
        ]);
    }
    Ok(answer.table())
}
