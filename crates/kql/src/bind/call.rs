//! Calls of functions: the language's own, and those somebody wrote.

use super::{Binder, CALLS_MAX, Cx, Entity, Item, Result, UserFunction, types};
use crate::ast::{self, Named, ParameterType};
use crate::bound::{Expr, ExprKind, Rel};
use crate::diagnostic::{Code, Span};
use crate::functions::{self, Function, Kind, Parameter, Returns, Signature};
use crate::value::{Type, Value};
use std::rc::Rc;
use std::sync::Arc;

/// Conversions: a cast is what they are.
const CONVERSIONS: [(&str, Type); 10] = [
    ("tobool", Type::Bool),
    ("toint", Type::Int),
    ("tolong", Type::Long),
    ("toreal", Type::Real),
    ("todecimal", Type::Decimal),
    ("tostring", Type::String),
    ("todatetime", Type::DateTime),
    ("totimespan", Type::TimeSpan),
    ("toguid", Type::Guid),
    ("dynamic_to_json", Type::Unknown),
];

impl Binder<'_> {
    /// A call, which may yield a table when a user's function does.
    pub(super) fn call(&mut self, name: &ast::Name, arguments: &[Named], span: Span, cx: Cx<'_>) -> Result<Item> {
        match cx.env.get(&name.text) {
            Some(Entity::Function(function)) => return self.user_call(&function, arguments, None, span, cx),
            Some(Entity::Pattern) => {
                return self.fault(Code::NotSupported, span, format!("patterns (`{}`) are not implemented", name.text));
            }
            // A variable in a call without arguments is itself.
            Some(Entity::Scalar(..)) if arguments.is_empty() && functions::scalar(&name.text).is_none() => {
                return self
                    .expr(&ast::Expr { kind: ast::ExprKind::Name(name.text.clone()), span }, cx)
                    .map(Item::Scalar);
            }
            Some(Entity::Rel(rel, _)) if arguments.is_empty() => return Ok(Item::Rel(rel)),
            _ => {}
        }
        if let Some(item) = self.table_call(name, arguments, span, cx)? {
            return Ok(item);
        }
        if self.aggregates.is_some()
            && functions::aggregate(&name.text).is_some()
            && !self.is_graph_quantifier(name, cx)
        {
            return self.aggregate_call(name, arguments, span, cx).map(Item::Scalar);
        }
        if let Some(value) = self.special_call(name, arguments, span, cx)? {
            return Ok(Item::Scalar(value));
        }
        if let Some(function) = functions::scalar(&name.text) {
            let arguments = self.arguments(arguments, cx)?;
            return self.scalar_call(function, arguments, span, cx).map(Item::Scalar);
        }
        if let Some(function) = self.stored_function(cx.database, &name.text, span)? {
            return self.user_call(&function, arguments, None, span, cx);
        }
        if functions::aggregate(&name.text).is_some() {
            let message = format!("the aggregate function `{}` is not allowed in this context", name.text);
            return self.fault(Code::WrongShape, span, message);
        }
        self.fault(Code::UnknownFunction, name.span, format!("no function has the name `{}`", name.text))
    }

    /// The values of arguments; `*` stands for all columns.
    fn arguments(&mut self, arguments: &[Named], cx: Cx<'_>) -> Result<Vec<Argument>> {
        let mut values = Vec::new();
        for argument in arguments {
            match &argument.value.kind {
                ast::ExprKind::Wildcard(star) if star == "*" => {
                    for (index, column) in cx.row.iter().flat_map(|row| row.schema.columns.iter().enumerate()) {
                        let value = self.make(ExprKind::Column(index), column.ty, argument.value.span)?;
                        values.push(Argument::Value(value));
                    }
                }
                ast::ExprKind::TypeOf(ast::TypeOf::Scalar(ty)) => {
                    values.push(Argument::Type(self.declared(*ty, argument.value.span)?, argument.value.span));
                }
                _ => values.push(Argument::Value(self.expr(&argument.value, cx)?)),
            }
        }
        Ok(values)
    }

    /// Functions whose meaning is decided here.
    fn special_call(&mut self, name: &ast::Name, arguments: &[Named], span: Span, cx: Cx<'_>) -> Result<Option<Expr>> {
        if let Some(value) = self.graph_call(name, arguments, span, cx)? {
            return Ok(Some(value));
        }
        let first = arguments.first().map(|argument| &argument.value);
        Ok(Some(match name.text.as_str() {
            "toscalar" => {
                let [argument] = arguments else { return self.wrong_count(name, "one", span) };
                match self.pipe(&argument.value, cx.without_row(), None, None)? {
                    Item::Scalar(value) => value,
                    Item::Rel(rel) => self.scalar_of(rel, span)?,
                    _ => return self.fault(Code::WrongShape, span, "a table expected"),
                }
            }
            "column_ifexists" | "columnifexists" => {
                let [column, default] = arguments else { return self.wrong_count(name, "two", span) };
                let wanted = self.constant(&column.value, cx)?;
                let Some(Value::String(wanted)) = wanted.as_literal() else {
                    return self.fault(Code::NotConstant, column.value.span, "the name of a column must be a constant");
                };
                let Some(row) = cx.row else { return self.fault(Code::WrongShape, span, "there are no rows here") };
                match row.schema.position(wanted) {
                    Some(index) => self.make(ExprKind::Column(index), row.schema.columns[index].ty, span)?,
                    None => self.expr(&default.value, cx)?,
                }
            }
            "pack_all" => {
                let Some(row) = cx.row else { return self.fault(Code::WrongShape, span, "there are no rows here") };
                let mut ignore = None;
                for argument in arguments {
                    if !matches!(argument.value.kind, ast::ExprKind::Wildcard(_)) {
                        let value = self.constant(&argument.value, cx)?;
                        ignore = Some(self.predicate(value)?);
                    }
                }
                let columns: Vec<usize> = (0..row.schema.columns.len()).collect();
                return self.bag_of(&columns, ignore, span, cx).map(Some);
            }
            "column_names_of" => {
                let Some(first) = first else { return self.wrong_count(name, "one", span) };
                let rel = self.table(first, cx)?;
                let names = rel.schema.columns.iter();
                let names = names.map(|column| crate::value::Dynamic::String(column.name.to_string())).collect();
                let names = Value::Dynamic(crate::value::Dynamic::Array(names));
                self.make(ExprKind::Literal(names), Type::Dynamic, span)?
            }
            "bag_pack_columns" => {
                let mut columns = Vec::new();
                for argument in arguments {
                    let value = self.expr(&argument.value, cx)?;
                    let ExprKind::Column(index) = value.kind else {
                        return self.fault(Code::WrongShape, argument.value.span, "a column expected");
                    };
                    columns.push(index);
                }
                return self.bag_of(&columns, None, span, cx).map(Some);
            }
            "replace" => {
                // The old function has the text last.
                let mut values = self.arguments(arguments, cx)?;
                if values.len() != 3 {
                    return self.wrong_count(name, "three", span);
                }
                values.rotate_right(1);
                let function = functions::scalar("replace_regex").expect("it is in the table");
                self.scalar_call(function, values, span, cx)?
            }
            "bin_auto" => {
                let Some(first) = first else { return self.wrong_count(name, "one", span) };
                let value = self.expr(first, cx)?;
                let ty = value.ty;
                self.call_of("bin_auto", vec![value], ty, span)?
            }
            _ => return Ok(None),
        }))
    }

    fn wrong_count<T>(&self, name: &ast::Name, count: &str, span: Span) -> Result<T> {
        self.fault(Code::WrongType, span, format!("the function `{}` expects {count} arguments", name.text))
    }

    /// The first cell of a table.
    pub(super) fn scalar_of(&mut self, rel: Arc<Rel>, span: Span) -> Result<Expr> {
        let ty = rel.schema.columns.first().map_or(Type::Unknown, |column| column.ty);
        self.once(&rel, span)?;
        self.bound.scalars.push(rel);
        self.make(ExprKind::Scalar(self.bound.scalars.len() - 1), ty, span)
    }

    /// `bag_pack` of columns under their names; with a condition, `pack_all(condition, name, value, ...)`.
    fn bag_of(&mut self, columns: &[usize], ignore: Option<Expr>, span: Span, cx: Cx<'_>) -> Result<Expr> {
        let Some(row) = cx.row else { return self.fault(Code::WrongShape, span, "there are no rows here") };
        let function = if ignore.is_some() { "pack_all" } else { "bag_pack" };
        let mut arguments: Vec<Expr> = ignore.into_iter().collect();
        for &index in columns {
            let column = &row.schema.columns[index];
            arguments.push(self.make(ExprKind::Literal(Value::String(column.name.to_string())), Type::String, span)?);
            arguments.push(self.make(ExprKind::Column(index), column.ty, span)?);
        }
        self.call_of(function, arguments, Type::Dynamic, span)
    }

    /// A call of a scalar function of the table.
    fn scalar_call(
        &mut self,
        function: &'static Function,
        arguments: Vec<Argument>,
        span: Span,
        cx: Cx<'_>,
    ) -> Result<Expr> {
        let kinds: Vec<Option<Type>> = arguments.iter().map(Argument::ty).collect();
        let Some((signature, places)) = resolve(&function.signatures, &kinds) else {
            return self.no_signature(function.name, &function.signatures, &kinds, span);
        };
        let mut values = Vec::new();
        let mut literal = None;
        let mut types = Vec::new();
        for (argument, place) in arguments.into_iter().zip(&places) {
            let parameter = &signature.parameters[*place];
            match argument {
                Argument::Type(ty, _) => literal = Some(ty),
                Argument::Value(value) => {
                    if parameter.constant && value.has_columns() {
                        let message =
                            format!("the argument `{}` of `{}` must be constant", parameter.name, function.name);
                        return self.fault(Code::NotConstant, value.span, message);
                    }
                    types.push(value.ty);
                    values.push((value, parameter.kind));
                }
            }
        }
        if let Some((_, ty)) = CONVERSIONS.iter().find(|(name, ty)| *name == function.name && *ty != Type::Unknown) {
            let (value, _) = values.swap_remove(0);
            if value.ty == *ty {
                return Ok(value.at(span));
            }
            return self.make(ExprKind::Cast(value.into()), *ty, span);
        }
        let meeting = |wanted: &dyn Fn(Kind) -> bool| {
            types::common(values.iter().filter(|(_, kind)| wanted(*kind)).map(|(value, _)| value.ty))
        };
        let ty = match signature.returns {
            Returns::Of(ty) => ty,
            Returns::Argument(at) => types.get(at).copied().unwrap_or(Type::Unknown),
            Returns::Promoted(at) => types.get(at).map_or(Type::Unknown, |ty| promoted(*ty)),
            Returns::Common => {
                let is_common = |kind| matches!(kind, Kind::Common | Kind::CommonOrDynamic | Kind::CommonOrderable);
                meeting(&is_common).unwrap_or(Type::Dynamic)
            }
            Returns::Widest => match meeting(&|kind| kind == Kind::Number) {
                Some(Type::Int) => Type::Long,
                Some(ty) => ty,
                None => Type::Unknown,
            },
            Returns::TypeLiteral => literal.unwrap_or(Type::String),
            Returns::Special => Type::Dynamic,
        };
        let mut cast = Vec::with_capacity(values.len());
        for (value, kind) in values {
            cast.push(match kind {
                Kind::Of(wanted) => self.cast(value, wanted)?,
                Kind::Common | Kind::CommonOrDynamic | Kind::CommonOrderable => self.cast(value, ty)?,
                Kind::Number if signature.returns == Returns::Widest => self.cast(value, ty)?,
                _ => value,
            });
        }
        if function.window {
            return self.window_call(function, cast, ty, span, cx);
        }
        if signature.returns == Returns::TypeLiteral {
            // `extract(..., typeof(long))` is the text as a long.
            let text = self.call_of(function.name, cast, Type::String, span)?;
            return self.cast(text, ty);
        }
        self.make(ExprKind::Call { function, arguments: cast.into() }, ty, span)
    }

    fn window_call(
        &mut self,
        function: &'static Function,
        arguments: Vec<Expr>,
        ty: Type,
        span: Span,
        cx: Cx<'_>,
    ) -> Result<Expr> {
        match cx.row {
            Some(row) if row.serialized => {
                self.make(ExprKind::Window { function, arguments: arguments.into() }, ty, span)
            }
            _ => {
                let message = format!("`{}` needs rows in order: put `serialize` or `sort` before it", function.name);
                self.fault(Code::NotSerialized, span, message)
            }
        }
    }

    pub(super) fn no_signature<T>(
        &self,
        name: &str,
        signatures: &[Signature],
        types: &[Option<Type>],
        span: Span,
    ) -> Result<T> {
        let counts = |signature: &Signature| places(signature, types.len(), &mut |_| true).is_some();
        if !signatures.iter().any(counts) {
            let message = format!("the function `{name}` does not take {} arguments", types.len());
            return self.fault(Code::WrongType, span, message);
        }
        let types: Vec<&str> = types.iter().map(|ty| ty.map_or("typeof", Type::name)).collect();
        let message = format!("the function `{name}` does not take arguments of types ({})", types.join(", "));
        self.fault(Code::WrongType, span, message)
    }

    /// A function of the catalogue.
    pub(super) fn stored_function(&self, database: &str, name: &str, span: Span) -> Result<Option<Rc<UserFunction>>> {
        let Some(stored) = self.catalog.function(database, name) else { return Ok(None) };
        match crate::parse::parse_function(&stored.parameters, &stored.body) {
            Ok(function) => Ok(Some(Rc::new(UserFunction {
                function,
                env: super::Env::root(),
                database: database.into(),
                stored: true,
            }))),
            Err(faults) => {
                let message = format!("the stored function `{name}` cannot be read: {}", faults[0].message);
                self.fault(Code::Syntax, span, message)
            }
        }
    }

    /// Expands a function somebody wrote. `piped` is the table `invoke` puts first.
    pub(super) fn user_call(
        &mut self,
        user: &UserFunction,
        arguments: &[Named],
        piped: Option<Arc<Rel>>,
        span: Span,
        cx: Cx<'_>,
    ) -> Result<Item> {
        if self.calls == CALLS_MAX {
            return self.fault(Code::TooComplex, span, format!("more than {CALLS_MAX} functions within each other"));
        }
        let parameters = &user.function.parameters;
        let mut given: Vec<Option<&ast::Expr>> = vec![None; parameters.len()];
        let first = usize::from(piped.is_some());
        for (next, argument) in (first..).zip(arguments) {
            let place = match argument.names.first() {
                Some(name) => parameters.iter().position(|parameter| parameter.name.text == name.text),
                None => Some(next).filter(|next| *next < parameters.len()),
            };
            let Some(place) = place else {
                return self.fault(Code::WrongType, argument.value.span, "the function has no such parameter");
            };
            if given[place].replace(&argument.value).is_some() {
                return self.fault(Code::WrongType, argument.value.span, "the parameter has a value already");
            }
        }
        let mut env = user.env.inner();
        for (place, (parameter, given)) in parameters.iter().zip(given).enumerate() {
            let entity = match (&parameter.ty, given) {
                (ParameterType::Table(columns), given) => {
                    let rel = match (given, &piped) {
                        (None, Some(piped)) if place == 0 => piped.clone(),
                        (Some(given), _) => self.table(given, cx)?,
                        (None, _) => return self.missing(parameter, span),
                    };
                    self.check_columns(&rel, columns, given.map_or(span, |given| given.span))?;
                    Entity::Rel(rel, false)
                }
                (ParameterType::Scalar(ty), Some(given)) => {
                    let ty = self.declared(*ty, parameter.name.span)?;
                    let value = self.expr(given, cx)?;
                    let value = self.coerce(value, ty)?;
                    let row = if value.has_columns() { cx.row_id } else { None };
                    Entity::Scalar(value, row)
                }
                (ParameterType::Scalar(ty), None) => {
                    let ty = self.declared(*ty, parameter.name.span)?;
                    let Some(default) = &parameter.default else { return self.missing(parameter, span) };
                    let around = user.env.clone();
                    let value = self.expr(default, cx.without_row().with_env(&around))?;
                    Entity::Scalar(self.coerce(value, ty)?, None)
                }
            };
            self.declare(&mut env, &parameter.name, entity)?;
        }
        let outer = self.call_site;
        if user.stored {
            self.call_site = outer.or(Some(span));
        }
        self.calls += 1;
        let result = self.body(&user.function.body, &mut env, &user.database, cx, span);
        self.calls -= 1;
        self.call_site = outer;
        result
    }

    fn missing<T>(&self, parameter: &ast::Parameter, span: Span) -> Result<T> {
        self.fault(Code::WrongType, span, format!("the argument for parameter `{}` is missing", parameter.name.text))
    }

    /// The value of a function's body.
    pub(super) fn body(
        &mut self,
        body: &ast::Body,
        env: &mut super::Env,
        database: &str,
        cx: Cx<'_>,
        span: Span,
    ) -> Result<Item> {
        for statement in &body.statements {
            self.statement(statement, env, database, cx.row_id, None)?;
        }
        let Some(value) = &body.value else { return self.fault(Code::WrongShape, span, "the function has no value") };
        let env = env.clone();
        let inner = Cx { env: &env, row: None, row_id: cx.row_id, database };
        let aggregates = cx.row.is_none().then(|| self.aggregates.take());
        let item = self.pipe(value, inner, None, None);
        if let Some(aggregates) = aggregates {
            self.aggregates = aggregates;
        }
        match item? {
            Item::Scalar(value) => Ok(Item::Scalar(value.at(span))),
            other => Ok(other),
        }
    }

    fn check_columns(&self, rel: &Rel, columns: &[ast::ColumnDeclaration], span: Span) -> Result<()> {
        for column in columns {
            let found = rel.schema.position(&column.name.text).map(|index| rel.schema.columns[index].ty);
            let fits = match found {
                Some(ty) => ty == column.ty || ty == Type::Unknown || ty.is_number() && column.ty.is_number(),
                None => rel.schema.open,
            };
            if !fits {
                let message = format!("the table has no column `{}` of type {}", column.name.text, column.ty);
                return self.fault(Code::WrongType, span, message);
            }
        }
        Ok(())
    }
}

/// An argument of a scalar function.
enum Argument {
    Value(Expr),
    Type(Type, #[expect(dead_code, reason = "kept for messages")] Span),
}

impl Argument {
    /// The type of a value; nothing for `typeof`.
    fn ty(&self) -> Option<Type> {
        match self {
            Self::Value(value) => Some(value.ty),
            Self::Type(..) => None,
        }
    }
}

/// The type sums have: at least long.
pub(super) fn promoted(ty: Type) -> Type {
    if ty == Type::Int { Type::Long } else { ty }
}

/// The first signature these arguments fit, and the parameter of each argument.
pub(super) fn resolve<'s>(signatures: &'s [Signature], types: &[Option<Type>]) -> Option<(&'s Signature, Vec<usize>)> {
    signatures.iter().find_map(|signature| {
        let mut fitting = |places: &[usize]| {
            let mut common = Vec::new();
            for (ty, place) in types.iter().zip(places) {
                let parameter = &signature.parameters[*place];
                let fits = match ty {
                    Some(ty) => types::fits(parameter.kind, *ty),
                    None => parameter.kind == Kind::TypeLiteral,
                };
                if !fits {
                    return false;
                }
                if matches!(parameter.kind, Kind::Common | Kind::CommonOrderable) {
                    common.extend(*ty);
                }
            }
            let mixed = common.contains(&Type::Dynamic) && common.iter().any(|ty| *ty != Type::Dynamic);
            !mixed && types::common(common).is_some()
        };
        places(signature, types.len(), &mut fitting).map(|places| (signature, places))
    })
}

/// The parameter of each of so many arguments, in a way the test takes.
fn places(signature: &Signature, count: usize, test: &mut dyn FnMut(&[usize]) -> bool) -> Option<Vec<usize>> {
    let parameters = &signature.parameters;
    let first = parameters.iter().position(|parameter| parameter.repeats).unwrap_or(parameters.len());
    let block = parameters[first..].iter().take_while(|parameter| parameter.repeats).count();
    let (before, after) = (first, parameters.len() - first - block);
    let required = |list: &[Parameter]| list.iter().filter(|parameter| !parameter.optional).count();
    if block == 0 {
        let places: Vec<usize> = (0..count).collect();
        return (count <= parameters.len() && count >= required(parameters) && test(&places)).then_some(places);
    }
    let optional = parameters[first].optional;
    let least_after = required(&parameters[first + block..]);
    for behind in (least_after..=after).rev() {
        let Some(repeated) = count.checked_sub(before + behind) else { continue };
        if repeated % block != 0 || repeated == 0 && !optional {
            continue;
        }
        let places: Vec<usize> = (0..before)
            .chain((0..repeated).map(|at| first + at % block))
            .chain((0..behind).map(|at| first + block + at))
            .collect();
        if test(&places) {
            return Some(places);
        }
    }
    // Optional parameters before a list that is left out.
    let places: Vec<usize> = (0..count).collect();
    (count < before && optional && count >= required(&parameters[..before]) && test(&places)).then_some(places)
}
