//! Query options, read: what the protocol knows and is not here is refused by name, what it does not know as well.

use super::failure::Failure;

/// The options of a request, or of one item of `$expand`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `$filter`
    pub filter: Option<String>,
    /// `$select`: names; all without.
    pub select: Option<Vec<String>>,
    /// `$expand`
    pub expand: Vec<Expand>,
    /// `$orderby`
    pub orderby: Option<String>,
    /// `$top`
    pub top: Option<u64>,
    /// `$skip`
    pub skip: u64,
    /// `$count`
    pub count: bool,
    /// `$format`
    pub format: Option<String>,
    /// `$apply`
    pub apply: Option<String>,
    /// `$skiptoken`
    pub skiptoken: Option<String>,
    /// Values of `@name`.
    pub aliases: Vec<(String, String)>,
}

/// One item of `$expand`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expand {
    /// The navigation.
    pub name: String,
    /// Its own options.
    pub options: Options,
}

/// Options of the protocol that are not here.
const ELSEWHERE: [&str; 7] = ["$search", "$compute", "$deltatoken", "$index", "$schemaversion", "$id", "$levels"];

impl Options {
    /// Those of a request's query.
    ///
    /// # Errors
    /// When an option is unknown, wrong, not here or there twice.
    pub fn read(query: &[(String, String)]) -> Result<Options, Failure> {
        let mut options = Options::default();
        let mut seen = Vec::new();
        for (name, value) in query {
            if let Some(alias) = name.strip_prefix('@') {
                options.aliases.push((alias.to_owned(), value.clone()));
            } else if name.starts_with('$') {
                if seen.contains(&name) {
                    return Err(Failure::bad_request(format!("{name} is there twice")));
                }
                seen.push(name);
                options.take(name, value)?;
            }
            // Options without a sign are a client's own.
        }
        Ok(options)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        let number = || {
            let wrong = || Failure::bad_request(format!("{name} must be a whole number, not `{value}`"));
            value.trim().parse::<u64>().map_err(|_| wrong())
        };
        match name {
            "$filter" => self.filter = Some(value.to_owned()),
            "$select" => self.select = names(value)?,
            "$expand" => self.expand = expands(value)?,
            "$orderby" => self.orderby = Some(value.to_owned()),
            "$top" => self.top = Some(number()?),
            "$skip" => self.skip = number()?,
            "$count" => {
                self.count = match value.trim() {
                    "true" => true,
                    "false" => false,
                    _ => return Err(Failure::bad_request(format!("$count must be true or false, not `{value}`"))),
                }
            }
            "$format" => self.format = Some(value.to_owned()),
            "$apply" => self.apply = Some(value.to_owned()),
            "$skiptoken" => self.skiptoken = Some(value.to_owned()),
            _ if ELSEWHERE.contains(&name) => return Err(Failure::not_implemented(&format!("the option {name}"))),
            _ => return Err(Failure::bad_request(format!("there is no query option {name}"))),
        }
        Ok(())
    }

    /// What decides which rows there are and in which order.
    pub fn essence(&self) -> String {
        let Options { filter, orderby, apply, aliases, .. } = self;
        format!("{filter:?} {orderby:?} {apply:?} {aliases:?}")
    }
}

fn names(list: &str) -> Result<Option<Vec<String>>, Failure> {
    let mut names = Vec::new();
    for name in list.split(',').map(str::trim) {
        match name {
            "" => return Err(Failure::bad_request("$select has an empty name")),
            "*" => return Ok(None),
            _ if name.contains(['/', '(']) => {
                return Err(Failure::not_implemented(&format!("the path {name} in $select")));
            }
            _ => names.push(name.to_owned()),
        }
    }
    Ok(Some(names))
}

fn expands(list: &str) -> Result<Vec<Expand>, Failure> {
    let mut all: Vec<Expand> = Vec::new();
    for item in split(list, ',')? {
        let item = item.trim();
        let (name, inner) = match item.split_once('(') {
            Some((name, rest)) => {
                let inner = rest.strip_suffix(')').ok_or_else(|| Failure::bad_request("`)` expected in $expand"))?;
                (name.trim(), Some(inner))
            }
            None => (item, None),
        };
        if name.is_empty() {
            return Err(Failure::bad_request("$expand has an empty name"));
        }
        if name == "*" || name.contains('/') {
            return Err(Failure::not_implemented(&format!("{name} in $expand")));
        }
        let mut options = Options::default();
        for option in split(inner.unwrap_or(""), ';')?.into_iter().map(str::trim).filter(|option| !option.is_empty()) {
            let Some((option, value)) = option.split_once('=') else {
                return Err(Failure::bad_request(format!("`{option}` is no option in $expand")));
            };
            match option {
                "$expand" => return Err(Failure::not_implemented("a second level of $expand")),
                "$apply" | "$skiptoken" | "$format" => {
                    return Err(Failure::not_implemented(&format!("the option {option} in $expand")));
                }
                _ => options.take(option, value)?,
            }
        }
        if all.iter().any(|known| known.name == name) {
            return Err(Failure::bad_request(format!("{name} is there twice in $expand")));
        }
        all.push(Expand { name: name.to_owned(), options });
    }
    Ok(all)
}

/// Pieces of a text between signs that stand in no parentheses and no quotes.
///
/// # Errors
/// When parentheses or quotes do not end.
pub fn split(text: &str, sign: char) -> Result<Vec<&str>, Failure> {
    let (mut pieces, mut from, mut depth, mut quoted) = (Vec::new(), 0, 0_usize, false);
    for (at, c) in text.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            _ if quoted => {}
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1).ok_or_else(|| Failure::bad_request("`)` without `(`"))?,
            _ if c == sign && depth == 0 => {
                pieces.push(&text[from..at]);
                from = at + c.len_utf8();
            }
            _ => {}
        }
    }
    if quoted || depth > 0 {
        return Err(Failure::bad_request(if quoted { "a text without an end" } else { "`(` without `)`" }));
    }
    pieces.push(&text[from..]);
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &[(&str, &str)]) -> Result<Options, Failure> {
        Options::read(&query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read_with_those_of_expanded_sets() {
        let options = read(&[
            ("$select", "a, b"),
            ("$expand", "Telemetry($top=5;$filter=a eq 'x;y,)z'),Alerts"),
            ("$count", "true"),
            ("custom", "ignored"),
            ("@p", "'x'"),
        ])
        .unwrap();
        assert_eq!(options.select, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(options.expand.len(), 2);
        assert_eq!((options.expand[0].name.as_str(), options.expand[0].options.top), ("Telemetry", Some(5)));
        assert_eq!(options.expand[0].options.filter.as_deref(), Some("a eq 'x;y,)z'"));
        assert_eq!(options.aliases, [("p".to_owned(), "'x'".to_owned())]);
    }

    #[test]
    fn what_is_unknown_is_400_and_what_is_elsewhere_is_501() {
        for (name, value, status) in [
            ("$fliter", "a", 400),
            ("$top", "-1", 400),
            ("$top", "x", 400),
            ("$count", "yes", 400),
            ("$select", "a,", 400),
            ("$expand", "A(", 400),
            ("$expand", "A($nothing=1)", 400),
            ("$expand", "A,A", 400),
            ("$search", "x", 501),
            ("$compute", "x", 501),
            ("$deltatoken", "x", 501),
            ("$expand", "*", 501),
            ("$expand", "A($expand=B)", 501),
            ("$expand", "A/$ref", 501),
            ("$select", "a/b", 501),
        ] {
            let failure = read(&[(name, value)]).expect_err(value);
            assert_eq!(failure.status(), status, "{name}={value}: {}", failure.message());
        }
        assert_eq!(read(&[("$top", "1"), ("$top", "1")]).unwrap_err().status(), 400);
    }
}
