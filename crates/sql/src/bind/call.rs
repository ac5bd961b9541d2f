//! Calls of functions.

use gantry_kql::Span;
use gantry_kql::bound::{Expr, ExprKind};
use gantry_kql::value::{Type, Value};
use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart};

use super::coerce::held_as;
use super::operator::Comparison;
use super::scope::{Scalar, Stage, folded};
use super::{Binder, call, choice, expr, is_null, not};
use crate::error::{Error, Result, state};
use crate::functions::{self, Gives, Nulls, Signature, Takes};
use crate::types::{Base, SqlType};

/// The last part of the name of a function, as PostgreSQL would have it.
pub(super) fn function_name(name: &ast::ObjectName) -> String {
    match name.0.last() {
        Some(ObjectNamePart::Identifier(ident)) => folded(ident),
        _ => String::new(),
    }
}

/// The arguments that are expressions.
pub(super) fn plain_arguments(function: &ast::Function) -> Result<Vec<&ast::Expr>> {
    let list = match &function.args {
        FunctionArguments::None => return Ok(Vec::new()),
        FunctionArguments::Subquery(_) => return Err(Error::unsupported("a sub-query as an argument")),
        FunctionArguments::List(list) => list,
    };
    list.args
        .iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(of)) => Ok(of),
            FunctionArg::Unnamed(_) => Err(Error::unsupported(format!("* as an argument of {}", function.name))),
            _ => Err(Error::unsupported("arguments by name")),
        })
        .collect()
}

impl Binder<'_> {
    /// A call.
    pub(super) fn function(&mut self, stage: &Stage, function: &ast::Function) -> Result<Scalar> {
        let name = function_name(&function.name);
        let at = match function.name.0.last() {
            Some(ObjectNamePart::Identifier(ident)) => ident.span,
            _ => sqlparser::tokenizer::Span::empty(),
        };
        self.function_here(stage, function, &name).map_err(|wrong| wrong.or_at(at))
    }

    fn function_here(&mut self, stage: &Stage, function: &ast::Function, name: &str) -> Result<Scalar> {
        if let (FunctionArguments::Subquery(query), "array") = (&function.args, name) {
            return self.array_query(stage, query);
        }
        if function.over.is_some() {
            return self.window_call(stage, function, name);
        }
        if let Some(value) = self.tsql_call(stage, function, name)? {
            return Ok(value);
        }
        if super::aggregate::is_aggregate(name) {
            return self.aggregate_call(stage, function, name);
        }
        if function.filter.is_some() || !function.within_group.is_empty() {
            return Err(Error::new(
                state::DATATYPE_MISMATCH,
                format!("{name} is not an aggregate function: it takes no FILTER and no WITHIN GROUP"),
            ));
        }
        let written = plain_arguments(function)?;
        if super::from::is_set_function(name) {
            return self.set_call(stage, name, &written);
        }
        let arguments = written.iter().map(|of| self.expr(stage, of)).collect::<Result<Vec<_>>>()?;
        self.call_named(name, arguments)
    }

    /// A call of a function by its name, its arguments worked out.
    pub(super) fn call_named(&mut self, name: &str, arguments: Vec<Scalar>) -> Result<Scalar> {
        if let Some(special) = self.special(name, &arguments)? {
            return Ok(special);
        }
        // A type is called like a function to cast to it.
        if functions::named(name).next().is_none() {
            if let ([value], Some(ty)) = (arguments.as_slice(), SqlType::from_name(name)) {
                return self.cast(value.clone(), ty);
            }
            return Err(unknown(name, &arguments));
        }
        let signature = self.choose_signature(name, &arguments).ok_or_else(|| unknown(name, &arguments))?;
        self.call_signature(signature, arguments)
    }

    fn choose_signature(&self, name: &str, arguments: &[Scalar]) -> Option<&'static Signature> {
        let fits = |signature: &&Signature| {
            let count = arguments.len();
            let least = signature.takes.len() - usize::from(signature.variadic && !signature.takes.is_empty());
            let enough = if signature.variadic { count >= least } else { count == signature.takes.len() };
            enough && arguments.iter().enumerate().all(|(at, value)| self.takes(signature.parameter(at), value))
        };
        // Bare texts and parameters say nothing of which one is meant.
        let cost = |signature: &&Signature| -> usize {
            let each = arguments.iter().enumerate().map(|(at, value)| match signature.parameter(at) {
                Takes::Of(ty) if ty == value.ty => 0,
                Takes::Of(_) if value.ty == SqlType::UNKNOWN => 1,
                // A whole number is a double before it is a decimal, as its functions are worked out there.
                Takes::Of(ty) if ty == SqlType::FLOAT8 => 2,
                Takes::Of(ty) if ty.is_number() => 3,
                Takes::Of(_) => 4,
                _ => 1,
            });
            each.sum()
        };
        functions::named(name).filter(fits).min_by_key(cost)
    }

    fn takes(&self, parameter: Takes, value: &Scalar) -> bool {
        match parameter {
            Takes::Any => true,
            Takes::Array => value.ty.element().is_some() || value.ty == SqlType::UNKNOWN,
            Takes::Json => value.ty.is_json() || value.ty == SqlType::UNKNOWN,
            Takes::Of(ty) => {
                self.becomes(value, ty)
                    // Texts are put together of anything.
                    || (ty == SqlType::TEXT && value.ty.is_text())
                    || (ty == SqlType::INT4 && value.ty == SqlType::INT8)
            }
        }
    }

    fn call_signature(&mut self, signature: &Signature, arguments: Vec<Scalar>) -> Result<Scalar> {
        let first = arguments.first().map(|value| value.ty);
        let mut nullable = false;
        let mut values = Vec::with_capacity(arguments.len() + 1);
        let mut first_cast = first;
        for (at, value) in arguments.into_iter().enumerate() {
            let value = match signature.parameter(at) {
                Takes::Of(ty) => self.cast(value, ty)?,
                Takes::Json => {
                    let ty = if value.ty.is_json() { value.ty } else { SqlType::JSONB };
                    self.cast(value, ty)?
                }
                Takes::Array if value.ty == SqlType::UNKNOWN => self.cast(value, SqlType::array_of(Base::Text))?,
                _ => self.cast_unknown(value)?,
            };
            if at == 0 {
                first_cast = Some(value.ty);
            }
            nullable |= value.nullable;
            values.push(super::operator::whole_interval(&value));
        }
        let ty = match signature.gives {
            Gives::Of(ty) => ty,
            Gives::First => first_cast.unwrap_or(SqlType::TEXT),
            Gives::Element => first.and_then(SqlType::element).unwrap_or(SqlType::TEXT),
        };
        let nullable = match signature.nulls {
            Nulls::Strict => nullable,
            Nulls::Maybe => true,
            Nulls::Never => false,
        };
        if signature.engine == "sql.array_to_string" {
            let of = first.and_then(SqlType::element).unwrap_or(SqlType::TEXT);
            values.push(super::coerce::type_name(of));
        }
        Ok(Scalar::new(call(signature.engine, values, ty.held(nullable)), ty, nullable))
    }

    /// Functions with rules of their own.
    fn special(&mut self, name: &str, arguments: &[Scalar]) -> Result<Option<Scalar>> {
        if arguments.is_empty()
            && let Some(value) = self.session_word(name)
        {
            return Ok(Some(value));
        }
        let text_of = |at: usize| match arguments.get(at).and_then(|value| value.expr.as_literal()) {
            Some(Value::String(text)) => Some(text.clone()),
            _ => None,
        };
        Ok(Some(match (name, arguments) {
            ("coalesce", values) if !values.is_empty() => {
                let mut values = values.to_vec();
                // What cannot be null ends the search.
                if let Some(sure) = values.iter().position(|value| !value.nullable && value.parameter.is_none()) {
                    values.truncate(sure + 1);
                }
                let (ty, values) = self.unify(values, "COALESCE")?;
                let nullable = values.iter().all(|value| value.nullable);
                let held: Vec<Expr> = values.iter().map(|value| held_as(value, true)).collect();
                let (last, before) = held.split_last().expect("one at least");
                let pairs = before.iter().map(|value| (not(is_null(value.clone())), value.clone())).collect();
                let chosen = choice(pairs, Some(last.clone()), ty.held(true));
                Scalar::new(narrowed(chosen, ty.held(nullable)), ty, nullable)
            }
            ("nullif", [left, right]) => {
                let same = self.compare(Comparison(gantry_kql::bound::Binary::Equal), left.clone(), right.clone())?;
                let left = if left.ty == SqlType::UNKNOWN { self.cast(left.clone(), right.ty)? } else { left.clone() };
                let left = self.cast_unknown(left)?;
                let held = left.ty.held(true);
                let null = Expr::literal(Value::Null, held, Span::default());
                Scalar::new(choice(vec![(same.expr, null)], Some(held_as(&left, true)), held), left.ty, true)
            }
            ("greatest" | "least", values) if !values.is_empty() => {
                let (ty, values) = self.unify(values.to_vec(), "GREATEST")?;
                let nullable = values.iter().all(|value| value.nullable);
                let held = ty.held(values.iter().any(|value| value.nullable));
                let function = if name == "greatest" { "sql.greatest" } else { "sql.least" };
                let arguments = values.iter().map(super::operator::whole_interval).collect();
                let made = call(function, arguments, held);
                Scalar::new(narrowed(made, ty.held(nullable)), ty, nullable)
            }
            ("mod", [left, right]) => self.operate(&ast::BinaryOperator::Modulo, left.clone(), right.clone())?,
            ("concat" | "concat_ws", values) if !values.is_empty() => {
                let texts = values.iter().map(|value| self.shown(value.clone())).collect::<Result<Vec<_>>>()?;
                let separated = name == "concat_ws";
                let nullable = separated && texts[0].nullable;
                let function = if separated { "sql.concat_ws" } else { "sql.concat" };
                let made =
                    call(function, texts.into_iter().map(|text| text.expr).collect(), SqlType::TEXT.held(nullable));
                Scalar::new(made, SqlType::TEXT, nullable)
            }
            ("date_part", [field, of]) => match &field.expr.kind {
                ExprKind::Literal(Value::String(field)) => self.date_part(&field.to_lowercase(), of.clone())?,
                _ => return Ok(None),
            },
            ("array_append", [array, item]) => {
                self.operate(&ast::BinaryOperator::StringConcat, array.clone(), item.clone())?
            }
            ("array_prepend", [item, array]) => {
                self.operate(&ast::BinaryOperator::StringConcat, item.clone(), array.clone())?
            }
            ("array_position", [array, item]) if array.ty.element().is_some() => {
                let item = self.coerce(item.clone(), array.ty.element().expect("an array"))?;
                let made = call("sql.array_position", vec![array.expr.clone(), item.expr], Type::Int);
                Scalar::new(made, SqlType::INT4, true)
            }
            ("age", [of]) => {
                let of = self.coerce(of.clone(), SqlType::TIMESTAMP)?;
                let today = call("startofday", vec![call("now", vec![], Type::DateTime)], Type::DateTime);
                let nullable = of.nullable;
                Scalar::new(call("sql.age", vec![today, of.expr], Type::TimeSpan), SqlType::INTERVAL, nullable)
            }
            ("format_type", [ty, _]) => {
                let names = super::coerce::bag(crate::types::TYPES.iter().flat_map(|row| {
                    [SqlType::of(row.base), SqlType::array_of(row.base)]
                        .into_iter()
                        .filter(|ty| ty.oid() != 0)
                        .map(|ty| (ty.oid().to_string(), gantry_kql::value::Dynamic::String(ty.long_name())))
                }));
                let ty = self.cast(ty.clone(), SqlType::OID)?;
                let index = expr(ExprKind::Cast(ty.expr.into()), Type::String);
                let found = expr(ExprKind::Index { of: names.into(), index: index.into() }, Type::Dynamic);
                Scalar::new(found, SqlType::TEXT, true)
            }
            ("pg_typeof", [value]) => Scalar::text(value.ty.long_name()),
            ("to_regclass", [value]) => {
                let written = self.cast(value.clone(), SqlType::TEXT)?;
                match text_of(0).map(|name| self.number_of_name(Base::Regclass, &name)).transpose()?.flatten() {
                    Some(number) => Scalar::literal(Value::Long(number.into()), SqlType::REGCLASS),
                    None if text_of(0).is_some() => Scalar::literal(Value::Null, SqlType::REGCLASS),
                    None => self.cast(written, SqlType::REGCLASS)?,
                }
            }
            ("to_regtype", [_]) if text_of(0).is_some() || arguments[0].parameter.is_some() => {
                self.cast(arguments[0].clone(), SqlType::TEXT)?;
                let ty = text_of(0).and_then(|name| SqlType::from_name(name.trim().trim_start_matches("pg_catalog.")));
                let number = ty.map_or(Value::Null, |ty| Value::Long(ty.oid().into()));
                Scalar::literal(number, SqlType::of(Base::Regtype))
            }
            ("pg_get_userbyid", [_]) => Scalar::literal(Value::String(self.environment.user.to_owned()), SqlType::NAME),
            ("current_setting", [_]) | ("current_setting", [_, _]) => {
                // The name of a parameter is not known while its statement is described.
                if arguments[0].expr.as_literal() == Some(&Value::Null) {
                    self.cast(arguments[0].clone(), SqlType::TEXT)?;
                    return Ok(Some(Scalar::literal(Value::Null, SqlType::TEXT)));
                }
                let name = text_of(0).ok_or_else(|| Error::unsupported("a setting that only the rows tell"))?;
                match self.setting(&name.to_lowercase()) {
                    Some(value) => Scalar::text(value),
                    None if arguments.len() == 2 => Scalar::literal(Value::Null, SqlType::TEXT),
                    None => {
                        return Err(Error::new(
                            state::UNDEFINED_OBJECT,
                            format!("unrecognized configuration parameter \"{name}\""),
                        ));
                    }
                }
            }
            // Settings are changed by SET; here the value is handed back as it would be.
            ("set_config", [_, value, _]) => self.cast(value.clone(), SqlType::TEXT)?,
            ("current_schemas", [_]) => Scalar::literal(
                Value::Dynamic(gantry_kql::value::Dynamic::Array(
                    match arguments[0].expr.as_literal() {
                        Some(Value::Bool(true)) => &["pg_catalog", "public"][..],
                        _ => &["public"][..],
                    }
                    .iter()
                    .map(|name| gantry_kql::value::Dynamic::String((*name).into()))
                    .collect(),
                )),
                SqlType::array_of(Base::Name),
            ),
            ("pg_sleep" | "pg_advisory_lock" | "pg_notify" | "nextval" | "setval" | "lo_get", _) => {
                return Err(Error::unsupported(format!("function {name}")));
            }
            _ => return Ok(None),
        }))
    }

    /// Words that tell of the session or the instant, called or bare.
    pub(super) fn session_word(&mut self, name: &str) -> Option<Scalar> {
        let now = || call("now", Vec::new(), Type::DateTime);
        Some(match name {
            "now" | "current_timestamp" | "transaction_timestamp" | "statement_timestamp" | "clock_timestamp" => {
                Scalar::new(now(), SqlType::TIMESTAMPTZ, false)
            }
            "localtimestamp" => Scalar::new(now(), SqlType::TIMESTAMP, false),
            "current_date" => Scalar::new(call("startofday", vec![now()], Type::DateTime), SqlType::DATE, false),
            "current_user" | "session_user" | "user" | "current_role" => {
                Scalar::literal(Value::String(self.environment.user.to_owned()), SqlType::NAME)
            }
            "current_database" | "current_catalog" => {
                Scalar::literal(Value::String(self.catalog.default_database()), SqlType::NAME)
            }
            "current_schema" => Scalar::literal(Value::String("public".into()), SqlType::NAME),
            "version" => Scalar::text(crate::statement::VERSION),
            "pg_backend_pid" => Scalar::literal(Value::Int(self.environment.pid), SqlType::INT4),
            "pi" => Scalar::literal(Value::Real(std::f64::consts::PI), SqlType::FLOAT8),
            "inet_server_addr" | "inet_client_addr" => Scalar::literal(Value::Null, SqlType::TEXT),
            "pg_postmaster_start_time" | "pg_conf_load_time" => Scalar::new(now(), SqlType::TIMESTAMPTZ, false),
            _ => return None,
        })
    }

    /// A value as text as it is shown: a truth by one letter, where a cast spells it out.
    fn shown(&mut self, value: Scalar) -> Result<Scalar> {
        if value.ty != SqlType::BOOL {
            return self.cast(value, SqlType::TEXT);
        }
        let letter = |letter: &str| Expr::literal(Value::String(letter.into()), Type::Dynamic, Span::default());
        let pairs = vec![(value.expr.clone(), letter("t")), (not(value.expr), letter("f"))];
        Ok(Scalar::new(choice(pairs, None, Type::Dynamic), SqlType::TEXT, true))
    }

    fn setting(&self, name: &str) -> Option<String> {
        (self.environment.setting)(name).or_else(|| crate::statement::setting(name).map(str::to_owned))
    }

    /// A field of an instant or an interval.
    pub(super) fn date_part(&mut self, field: &str, of: Scalar) -> Result<Scalar> {
        let of = if of.ty == SqlType::UNKNOWN { self.cast(of, SqlType::TIMESTAMPTZ)? } else { of };
        let of = match of.ty.base {
            Base::Interval | Base::Time | Base::Timestamp | Base::TimestampTz | Base::Date => of,
            _ => return Err(unknown("date_part", &[of])),
        };
        let name = Expr::literal(Value::String(field.to_owned()), Type::String, Span::default());
        let value = super::operator::whole_interval(&of);
        Ok(Scalar::new(call("sql.date_part", vec![name, value], Type::Real), SqlType::FLOAT8, of.nullable))
    }
}

impl Signature {
    /// What a parameter takes.
    fn parameter(&self, at: usize) -> Takes {
        self.takes.get(at).or(self.takes.last()).copied().unwrap_or(Takes::Any)
    }
}

/// A value that is not null as its type holds it.
fn narrowed(of: Expr, held: Type) -> Expr {
    if of.ty == held { of } else { expr(ExprKind::Cast(of.into()), held) }
}

fn unknown(name: &str, arguments: &[Scalar]) -> Error {
    let types: Vec<String> = arguments.iter().map(|value| value.ty.to_string()).collect();
    Error::new(state::UNDEFINED_FUNCTION, format!("function {name}({}) does not exist", types.join(", ")))
}

/// The arguments that are expressions; none for a star.
pub(super) fn plain_arguments_or_star(function: &ast::Function) -> Result<Vec<&ast::Expr>> {
    if let FunctionArguments::List(list) = &function.args
        && let [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] = list.args.as_slice()
    {
        return Ok(Vec::new());
    }
    plain_arguments(function)
}

/// The same call with a column in the place of an argument.
pub(super) fn replace_argument(function: &mut ast::Function, at: usize, column: &str) {
    if let FunctionArguments::List(list) = &mut function.args
        && let Some(argument) = list.args.get_mut(at)
    {
        let name = ast::Ident::with_quote('"', column);
        *argument = FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Identifier(name)));
    }
}
