//! Rules: what becomes an alert, and what is done then.

use gantry_detection::Direction;
use serde::{Deserialize, Serialize};

use crate::actions::Action;

/// How bad.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Look soon.
    Warning,
    /// Look now.
    Critical,
}

/// A condition.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum When {
    /// A value that begins something unusual.
    Anomaly {
        /// Only this signal.
        #[serde(default)]
        signal: Option<String>,
        /// From this score; the detector's threshold when absent.
        #[serde(default)]
        score_min: Option<f64>,
    },
    /// A device whose urgency rises to this.
    Urgency {
        /// From this urgency.
        urgency_min: f64,
    },
    /// A row that a streaming job gives out as an event.
    Row {
        /// Of this output.
        output: String,
        /// Of this job only.
        #[serde(default)]
        job: Option<String>,
    },
    /// A signal that reaches a limit, or is expected to.
    Limit {
        /// The signal.
        signal: String,
        /// Reached from here up.
        #[serde(default)]
        above: Option<f64>,
        /// Reached from here down.
        #[serde(default)]
        below: Option<f64>,
        /// Already when it is expected to within so many hours.
        #[serde(default)]
        within_hours: Option<f64>,
    },
    /// Refused access of one claimed id or from one address, so often within a minute.
    Security {
        /// So often.
        count_min: u32,
    },
}

impl When {
    /// The limit of a rule about one, and which way it is passed.
    pub fn limit(&self) -> Option<(&str, f64, Direction)> {
        match self {
            When::Limit { signal, above: Some(limit), .. } => Some((signal, *limit, Direction::Above)),
            When::Limit { signal, below: Some(limit), .. } => Some((signal, *limit, Direction::Below)),
            _ => None,
        }
    }

    /// How long before its limit is reached a rule comes true.
    pub(crate) fn within_ms(&self) -> Option<i64> {
        match self {
            When::Limit { within_hours: Some(hours), .. } => Some((hours * 3_600_000.0) as i64),
            _ => None,
        }
    }
}

/// One rule.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Name, unique.
    #[serde(default)]
    pub id: String,
    /// Whether it is used.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The condition.
    pub when: When,
    /// How bad it is.
    pub severity: Severity,
    /// What is done when an alert opens.
    #[serde(default)]
    pub actions: Vec<Action>,
}

fn yes() -> bool {
    true
}

/// Rules a platform holds.
pub const RULES_MAX: usize = 200;
/// Longest name of an output of a streaming job, in bytes.
const OUTPUT_LEN_MAX: usize = 128;
/// How far ahead a rule may look: a year.
const WITHIN_HOURS_MAX: f64 = 8784.0;
/// Actions of one rule.
pub const ACTIONS_MAX: usize = 10;

/// Why a rule cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RuleError {
    /// An argument is out of range.
    #[error("{0}")]
    Invalid(&'static str),
}

impl Rule {
    /// Checks ranges.
    ///
    /// # Errors
    /// Names what is wrong.
    pub fn check(&self) -> Result<(), RuleError> {
        let unit = 0.0..=1.0;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.id.is_empty() || self.id.len() > 64 || !self.id.chars().all(plain) {
            return Err(RuleError::Invalid("id must have 1 to 64 letters, digits, `-`, `_` or `.`"));
        }
        if self.actions.len() > ACTIONS_MAX {
            return Err(RuleError::Invalid("a rule may have 10 actions"));
        }
        match &self.when {
            When::Anomaly { score_min: Some(score), .. } if !unit.contains(score) => {
                Err(RuleError::Invalid("scoreMin must be 0 to 1"))
            }
            When::Urgency { urgency_min } if !unit.contains(urgency_min) => {
                Err(RuleError::Invalid("urgencyMin must be 0 to 1"))
            }
            When::Limit { above, below, .. } if above.is_some() == below.is_some() => {
                Err(RuleError::Invalid("a limit is either above or below"))
            }
            When::Limit { within_hours: Some(hours), .. } if !(*hours > 0.0 && *hours <= WITHIN_HOURS_MAX) => {
                Err(RuleError::Invalid("withinHours must be more than 0 and 8784 at most"))
            }
            When::Security { count_min } if !(1..=1000).contains(count_min) => {
                Err(RuleError::Invalid("countMin must be 1 to 1000"))
            }
            When::Row { output, .. } if output.is_empty() || output.len() > OUTPUT_LEN_MAX => {
                Err(RuleError::Invalid("output must have 1 to 128 bytes"))
            }
            _ => self.actions.iter().try_for_each(Action::check),
        }
    }

    /// The rules of a new platform.
    pub fn defaults() -> Vec<Self> {
        let rule = |id: &str, when, severity| Self { id: id.into(), enabled: true, when, severity, actions: vec![] };
        vec![
            rule("anomaly", When::Anomaly { signal: None, score_min: None }, Severity::Warning),
            rule("urgent", When::Urgency { urgency_min: 0.6 }, Severity::Critical),
            rule("refused-access", When::Security { count_min: 5 }, Severity::Warning),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_as_the_contract_writes_them() {
        let text = r#"{"when":{"kind":"anomaly","signal":"temperature","scoreMin":0.7},"severity":"critical",
            "actions":[{"kind":"method","name":"reduceLoad","payload":{"to":70}},{"kind":"webhook","url":"https://localhost/x"}]}"#;
        let rule = Rule { id: "hot".into(), ..serde_json::from_str(text).unwrap() };
        assert_eq!(rule.check(), Ok(()));
        assert!(matches!(&rule.when, When::Anomaly { score_min: Some(score), .. } if *score == 0.7));
    }

    #[test]
    fn ranges_are_checked() {
        for rule in Rule::defaults() {
            assert_eq!(rule.check(), Ok(()));
        }
        let bad = Rule { when: When::Urgency { urgency_min: 1.5 }, ..Rule::defaults().remove(0) };
        assert_eq!(bad.check(), Err(RuleError::Invalid("urgencyMin must be 0 to 1")));
        for (when, is_good) in [
            (r#"{"kind":"limit","signal":"t","above":90}"#, true),
            (r#"{"kind":"limit","signal":"t","below":-5.5,"withinHours":48}"#, true),
            (r#"{"kind":"limit","signal":"t"}"#, false),
            (r#"{"kind":"limit","signal":"t","above":90,"below":10}"#, false),
            (r#"{"kind":"limit","signal":"t","above":90,"withinHours":0}"#, false),
            (r#"{"kind":"limit","signal":"t","above":90,"withinHours":8785}"#, false),
        ] {
            let rule = Rule { when: serde_json::from_str(when).unwrap(), ..Rule::defaults().remove(0) };
            assert_eq!(rule.check().is_ok(), is_good, "{when}");
        }
        let bad = Rule { id: "a b".into(), ..Rule::defaults().remove(0) };
        assert!(bad.check().is_err());
        for (patch, is_good) in
            [(r#"{"a":1,"b":null}"#, true), (r#"{"a#":1}"#, false), (r#"{"a":[null]}"#, false), ("null", false)]
        {
            let action = serde_json::from_str(&format!(r#"{{"kind":"desired","patch":{patch}}}"#)).unwrap();
            let rule = Rule { actions: vec![action], ..Rule::defaults().remove(0) };
            assert_eq!(rule.check().is_ok(), is_good, "{patch}");
        }
    }
}
