//! A program: read, and run.

use jaq_core::load::{self, Arena, File, Import, Loader};
use jaq_core::{Compiler, Ctx, Filter, Vars, compile, data, unwrap_valr};
use jaq_json::{Val, read, write};
use serde_json::value::RawValue;

/// Messages that one may become.
const OUTPUTS_MAX: usize = 1_000;
/// Bytes of all of them.
const OUTPUT_BYTES_MAX: usize = 4 << 20;

/// The module that programs import as `iotc`.
const IOTC: &str = "def find(f): first(.[] | select(f) | .value) // null;";

/// A program that can be run.
pub(crate) struct Program(Filter<data::JustLut<Val>>);

impl Program {
    /// Reads a program; says in words why it is none.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let is_allowed = |definition: &load::parse::Def<&str>| !definition.name.starts_with("halt");
        let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs()).filter(is_allowed);
        let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let module = |import: Import<'_, &str, &str>| match *import.path {
            "iotc" => Ok(File { code: IOTC.to_owned(), path: "iotc" }),
            other => Err(format!("there is no module `{other}`; `iotc` is the only one")),
        };
        let arena = Arena::default();
        let loader = Loader::new(definitions).with_read(module);
        let modules = loader.load(&arena, File { code: text, path: "" }).map_err(|errors| unread(text, errors))?;
        load::import(&modules, |import| Err::<(), _>(format!("no data is imported, not `{}` either", import.path)))
            .map_err(|errors| unread(text, errors))?;
        let compiled = Compiler::default().with_funs(functions).compile(modules);
        compiled.map(Self).map_err(|errors| undefined(text, errors))
    }

    /// What it makes of a message; says in words why it makes nothing.
    pub(crate) fn run(&self, input: &RawValue) -> Result<Vec<Box<RawValue>>, String> {
        let input = read::parse_single(input.get().as_bytes()).map_err(|error| error.to_string())?;
        let context = Ctx::<data::JustLut<Val>>::new(&self.0.lut, Vars::new([]));
        let (mut made, mut bytes) = (vec![], 0);
        for output in self.0.id.run((context, input)).map(unwrap_valr) {
            let value = output.map_err(|error| error.to_string())?;
            let mut text = vec![];
            write::write(&mut text, &write::Pp::default(), 0, &value).map_err(|error| error.to_string())?;
            bytes += text.len();
            if made.len() >= OUTPUTS_MAX || bytes > OUTPUT_BYTES_MAX {
                return Err(format!("a message becomes more than {OUTPUTS_MAX} messages, or 4 MiB"));
            }
            // Values of jq may be none of JSON: not a number, bytes, keys that are no texts.
            let value = String::from_utf8(text).ok().and_then(|text| RawValue::from_string(text).ok());
            made.push(value.ok_or("it makes a value that JSON does not have")?);
        }
        Ok(made)
    }
}

/// Where a piece of the program is, as people count.
fn place(program: &str, piece: &str) -> String {
    let at = load::span(program, piece).start;
    let before = program.get(..at).unwrap_or(program);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}")
}

fn unread(program: &str, errors: load::Errors<&str, &str>) -> String {
    let words = |error: load::Error<&str>| match error {
        load::Error::Io(all) => all.into_iter().map(|(_, why)| why).collect::<Vec<_>>(),
        load::Error::Lex(all) => all
            .into_iter()
            .map(|(wanted, at)| format!("{}: {} is wanted", place(program, at), wanted.as_str()))
            .collect(),
        load::Error::Parse(all) => {
            let at = |found: &str| if found.is_empty() { "the end".to_owned() } else { place(program, found) };
            all.into_iter().map(|(wanted, found)| format!("{}: {} is wanted", at(found), wanted.as_str())).collect()
        }
    };
    errors.into_iter().flat_map(|(_, error)| words(error)).next().unwrap_or_else(|| "it is no program of jq".to_owned())
}

fn undefined(program: &str, errors: compile::Errors<&str, &str>) -> String {
    let words = |(name, what): (&str, compile::Undefined)| {
        format!("{}: `{name}` is no {} that is known", place(program, name), what.as_str())
    };
    let all = errors.into_iter().flat_map(|(_, all)| all);
    all.map(words).next().unwrap_or_else(|| "it uses something that is not known".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(program: &str, input: &str) -> Result<Vec<String>, String> {
        let input = RawValue::from_string(input.to_owned()).unwrap();
        let made = Program::read(program)?.run(&input)?;
        Ok(made.into_iter().map(|one| one.get().to_owned()).collect())
    }

    #[track_caller]
    fn check(program: &str, input: &str, made: &[&str]) {
        assert_eq!(run(program, input).unwrap(), made, "{program}");
    }

    /// In the manner of the published programs: the fields are those of the published message.
    #[test]
    fn messages_are_made_other_messages() {
        let message = r#"{"applicationId":"a","device":{"id":"d","name":"D","properties":{"reported":[
            {"id":"m","name":"model","value":"m1"},{"id":"s","name":"serial","value":null}]}},
            "telemetry":[{"id":"t","name":"temperature","value":21.5},{"id":"h","name":"humidity","value":40}],
            "enqueuedTime":"2026-11-30T10:00:00Z","component":null}"#;
        check(
            "{ ApplicationId: .applicationId, Component: .component, DeviceName: .device.name }",
            message,
            &[r#"{"ApplicationId":"a","Component":null,"DeviceName":"D"}"#],
        );
        let find = r#"import "iotc" as iotc; { temp: .telemetry | iotc::find(.name == "temperature"),
            model: .device.properties.reported | iotc::find(.name == "model"),
            none: .telemetry | iotc::find(.name == "none") }"#;
        check(find, message, &[r#"{"temp":21.5,"model":"m1","none":null}"#]);
        check(
            ".telemetry[] | {name, value}",
            message,
            &[r#"{"name":"temperature","value":21.5}"#, r#"{"name":"humidity","value":40}"#],
        );
        check("if .telemetry[0].value > 30 then . else empty end", message, &[]);
        check(
            r#"{ all: (.telemetry | map({ key: .name, value: .value }) | from_entries) }"#,
            message,
            &[r#"{"all":{"temperature":21.5,"humidity":40}}"#],
        );
        check(r#""\(.device.id),\(.telemetry[0].value)""#, message, &[r#""d,21.5""#]);
        check("(.enqueuedTime | fromdateiso8601)", message, &["1796032800"]);
    }

    #[test]
    fn numbers_and_texts_stay_what_they_are() {
        for same in ["9007199254740993", "1.5", "-0.0", "\"é\\u0000\\\"\"", "[null,true,{\"a\":[]}]", "{}"] {
            check(".", same, &[same]);
        }
    }

    #[track_caller]
    fn wrong(program: &str, part: &str) {
        let told = run(program, "{}").unwrap_err();
        assert!(told.contains(part), "{program}: {told}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        wrong("{ a: ", "is wanted");
        wrong(".a\n| foo", "line 2, column 3: `foo`");
        wrong(". as $x | $y", "`$y`");
        wrong("\"a", "is wanted");
        wrong("import \"other\" as o; o::f", "no module `other`");
        wrong("1 | .a", "cannot index");
        wrong("error(\"no\")", "no");
        wrong("halt", "`halt`");
        wrong("import \"/etc/passwd\" as $p; $p", "no data is imported");
        wrong("nan", "JSON does not have");
        wrong("range(2000)", "1000 messages");
        wrong("\"x\" * 5000000", "4 MiB");
    }
}
