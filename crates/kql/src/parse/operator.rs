//! Operators and the pipes between them.

use super::{Kind, Parser, Result};
use crate::ast::{
    ColumnDeclaration, Expand, Expr, ExprKind, Find, FindColumns, JoinOn, MakeSeries, Name, Named, NestedLevel,
    Operator, OperatorKind, Order, Ordered, Parse, ParsePiece, Property, Reorder, Scan, ScanStep, Series, StepOutput,
};
use crate::diagnostic::Code;
use crate::value::Type;

impl Parser<'_> {
    /// An expression with operators behind it, or operators that are a source themselves.
    pub(super) fn pipe(&mut self) -> Result<Expr> {
        self.pipe_of(false)
    }

    /// The same in parentheses, where the rows may come from outside: `mv-apply ... on (take 1)`.
    pub(super) fn sub_pipe(&mut self) -> Result<Expr> {
        self.nested(|parser| parser.pipe_of(true))
    }

    fn pipe_of(&mut self, rows_from_outside: bool) -> Result<Expr> {
        let outer = std::mem::take(&mut self.tallest);
        let start = self.token(0);
        let source = if self.at_source_operator() || rows_from_outside && self.at_operator() {
            None
        } else if self.at_macro() {
            Some(self.macro_expand()?)
        } else {
            Some(self.expr()?)
        };
        let mut operators = Vec::new();
        if source.is_none() {
            operators.push(self.operator()?);
        }
        while self.eat_sign("|") {
            operators.push(self.operator()?);
        }
        let expr = match source {
            Some(source) if operators.is_empty() => source,
            source => {
                let kind = ExprKind::Pipe { source: source.map(Box::new), operators };
                let span = self.since(start);
                self.make(kind, span)?
            }
        };
        self.tallest = self.tallest.max(outer);
        Ok(expr)
    }

    /// A table: a name, a wildcard, a call or something in parentheses; no operators behind it.
    pub(super) fn source(&mut self) -> Result<Expr> {
        self.name_or_wildcard()
    }

    /// The name of an operator with its dashes, and how many tokens it has.
    fn operator_name(&self) -> Option<(String, usize)> {
        let mut name = self.word(0)?.to_string();
        let mut tokens = 1;
        while self.is_sign_at(tokens, "-") && self.touches(tokens - 1) && self.touches(tokens) {
            let Some(more) = self.word(tokens + 1) else { break };
            name = format!("{name}-{more}");
            tokens += 2;
        }
        Some((name, tokens))
    }

    /// Operators that need no rows.
    fn at_source_operator(&self) -> bool {
        let starts_value = |ahead: usize| match self.token(ahead).kind {
            Kind::End => false,
            Kind::Sign => self.is_sign_at(ahead, "-") || self.is_sign_at(ahead, "*") || self.is_bracketed_name(ahead),
            _ => true,
        };
        match self.word(0) {
            Some("print") => !matches!(self.text_of(self.token(1)), "|" | ";" | "." | "="),
            Some("range") => self.word(2) == Some("from") || self.is_bracketed_name(1),
            Some("find" | "search") => starts_value(1) || self.is_sign_at(1, "("),
            Some("union") => starts_value(1) || self.is_sign_at(1, "("),
            Some("evaluate") => self.word(1).is_some(),
            _ => false,
        }
    }

    fn at_operator(&self) -> bool {
        let Some((name, tokens)) = self.operator_name() else { return false };
        if matches!(name.as_str(), "count" | "serialize" | "getschema" | "consume") {
            return matches!(self.text_of(self.token(tokens)), "|" | ")" | "}" | "") || self.word(tokens).is_some();
        }
        // The word may name a table, a variable or a function too: `(top | take 1)`, `(range(1, 2))`.
        let next = self.text_of(self.token(tokens));
        let called = next == "(" && matches!(name.as_str(), "range" | "sample" | "take" | "limit" | "top" | "filter");
        OPERATORS.iter().any(|(operator, _)| *operator == name)
            && !called
            && !matches!(next, "|" | ")" | "." | "==" | "" | ";" | ",")
    }

    fn at_macro(&self) -> bool {
        self.is_word("macro") && self.is_sign_at(1, "-") && self.word(2) == Some("expand")
    }

    fn macro_expand(&mut self) -> Result<Expr> {
        let start = self.token(0);
        self.at += 3;
        self.properties(&["kind", "isfuzzy"])?;
        let group = self.source()?;
        self.expect_word("as")?;
        let name = self.name()?;
        self.expect_sign("(")?;
        let open = self.token(0);
        let mut statements = self.nested(|parser| parser.statements(Some(")")))?;
        self.expect_sign(")")?;
        let value = match statements.pop() {
            Some(crate::ast::Statement { kind: crate::ast::StatementKind::Query(value), .. }) => Some(value),
            Some(other) => {
                statements.push(other);
                None
            }
            None => None,
        };
        let body = crate::ast::Body { statements, value, span: self.since(open) };
        let span = self.since(start);
        self.make(ExprKind::MacroExpand { group: Box::new(group), name, body: Box::new(body) }, span)
    }

    fn operator(&mut self) -> Result<Operator> {
        let start = self.token(0);
        let Some((name, tokens)) = self.operator_name() else { return self.expected("an operator") };
        let Some((_, read)) = OPERATORS.iter().find(|(operator, _)| *operator == name) else {
            return self.expected("an operator");
        };
        self.at += tokens;
        let kind = read(self)?;
        Ok(Operator { kind, span: self.since(start) })
    }

    fn filter(&mut self) -> Result<OperatorKind> {
        self.properties(&[])?;
        Ok(OperatorKind::Where(self.named()?))
    }

    fn take(&mut self) -> Result<OperatorKind> {
        self.properties(&[])?;
        Ok(OperatorKind::Take(self.expr()?))
    }

    fn sort(&mut self) -> Result<OperatorKind> {
        self.properties(&[])?;
        self.expect_word("by")?;
        Ok(OperatorKind::Sort(self.list(Self::ordered)?))
    }

    /// Operators with `|` between them.
    pub(crate) fn operators(&mut self) -> Result<Vec<Operator>> {
        let mut operators = vec![self.operator()?];
        while self.eat_sign("|") {
            operators.push(self.operator()?);
        }
        Ok(operators)
    }

    /// A list that may be empty.
    fn maybe_list<T>(&mut self, element: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        if self.at_operator_end() { Ok(Vec::new()) } else { self.list(element) }
    }

    fn at_operator_end(&self) -> bool {
        let token = self.token(0);
        token.kind == Kind::End || matches!(self.text_of(token), "|" | ")" | ";" | "}")
    }

    pub(super) fn ordered(&mut self) -> Result<Ordered> {
        let value = self.named()?;
        let ascending = if self.eat_word("asc") {
            Some(true)
        } else if self.eat_word("desc") {
            Some(false)
        } else {
            None
        };
        let mut nulls_first = None;
        if self.eat_word("nulls") {
            nulls_first = Some(self.eat_word("first"));
            if nulls_first == Some(false) {
                self.expect_word("last")?;
            }
        }
        Ok(Ordered { value, ascending, nulls_first })
    }

    fn reorder(&mut self) -> Result<Reorder> {
        let column = self.name_or_wildcard()?;
        let natural = matches!(self.word(0), Some("granny" | "natural")) && self.is_sign_at(1, "-");
        if natural {
            self.at += 2;
        }
        let order = match (self.word(0), natural) {
            (Some("asc"), false) => Some(Order::Ascending),
            (Some("desc"), false) => Some(Order::Descending),
            (Some("asc"), true) => Some(Order::NaturalAscending),
            (Some("desc"), true) => Some(Order::NaturalDescending),
            (_, true) => return self.expected("`asc` or `desc`"),
            (_, false) => None,
        };
        self.at += usize::from(order.is_some());
        Ok(Reorder { column, order })
    }

    fn evaluate(&mut self) -> Result<OperatorKind> {
        let properties = self.properties(&[])?;
        let call = Box::new(self.postfix()?);
        if !matches!(call.kind, ExprKind::Call { .. }) {
            return self.fault(Code::Syntax, call.span, "expected a call of a plugin");
        }
        let schema = if self.eat_sign(":") {
            self.expect_sign("(")?;
            Some(self.list_until(")", Self::schema_item)?)
        } else {
            None
        };
        Ok(OperatorKind::Evaluate { call, schema, properties })
    }

    /// `(operator | operator)`
    fn operators_in_parentheses(&mut self) -> Result<Vec<Operator>> {
        self.expect_sign("(")?;
        let operators = self.nested(Self::operators)?;
        self.expect_sign(")")?;
        Ok(operators)
    }

    fn facet(&mut self) -> Result<OperatorKind> {
        self.expect_word("by")?;
        let by = self.list(Self::postfix)?;
        let with = if self.eat_word("with") {
            if self.is_sign("(") {
                Some(self.operators_in_parentheses()?)
            } else {
                Some(vec![self.nested(Self::operator)?])
            }
        } else {
            None
        };
        Ok(OperatorKind::Facet { by, with })
    }

    fn fork(&mut self) -> Result<OperatorKind> {
        let mut branches = Vec::new();
        while !self.at_operator_end() {
            let name = if self.is_sign_at(self.name_len(), "=") && self.name_len() > 0 {
                let name = self.name()?;
                self.expect_sign("=")?;
                Some(name)
            } else {
                None
            };
            branches.push((name, self.operators_in_parentheses()?));
        }
        if branches.is_empty() {
            return self.expected("a branch in parentheses");
        }
        Ok(OperatorKind::Fork(branches))
    }

    /// `in (tables)`
    fn in_tables(&mut self) -> Result<Vec<Expr>> {
        if self.is_word("in") && self.is_sign_at(1, "(") {
            self.at += 2;
            return self.list_until(")", Self::source);
        }
        Ok(Vec::new())
    }

    fn search(&mut self) -> Result<OperatorKind> {
        let properties = self.properties(&["kind", "withsource"])?;
        let tables = self.in_tables()?;
        Ok(OperatorKind::Search { tables, predicate: self.expr()?, properties })
    }

    fn find(&mut self) -> Result<OperatorKind> {
        let properties = self.properties(&["withsource", "with_source", "datascope"])?;
        let tables = self.in_tables()?;
        self.eat_word("where");
        let predicate = self.expr()?;
        let columns = match self.operator_name() {
            Some((name, tokens)) if name == "project-smart" => {
                self.at += tokens;
                FindColumns::Smart
            }
            Some((name, tokens)) if name == "project" => {
                self.at += tokens;
                let mut pack = false;
                let mut columns = Vec::new();
                for column in self.list(Self::find_column)? {
                    match column {
                        Some(column) => columns.push(column),
                        None => pack = true,
                    }
                }
                FindColumns::Project { columns, pack }
            }
            _ => FindColumns::Smart,
        };
        Ok(OperatorKind::Find(Box::new(Find { tables, predicate, columns, properties })))
    }

    /// `column[:type]`, or `pack(*)` as nothing.
    fn find_column(&mut self) -> Result<Option<(Name, Option<Type>)>> {
        if matches!(self.word(0), Some("pack" | "pack_all")) && self.is_sign_at(1, "(") {
            self.at += 2;
            self.expect_sign("*")?;
            self.expect_sign(")")?;
            return Ok(None);
        }
        let name = self.name()?;
        let ty = if self.eat_sign(":") { Some(self.type_name()?) } else { None };
        Ok(Some((name, ty)))
    }

    fn join(&mut self) -> Result<(Vec<Property>, Box<Expr>, JoinOn)> {
        let properties = self.properties(&["kind", "withsource"])?;
        let table = Box::new(self.source()?);
        let on = if self.eat_word("on") {
            JoinOn::On(self.list(Self::expr)?)
        } else if self.eat_word("where") {
            JoinOn::Where(Box::new(self.expr()?))
        } else {
            return self.expected("`on`");
        };
        Ok((properties, table, on))
    }

    fn make_series(&mut self) -> Result<MakeSeries> {
        let properties = self.properties(&["kind"])?;
        let series = self.list(|parser| {
            let value = parser.named()?;
            let default = if parser.is_word("default") && parser.is_sign_at(1, "=") {
                parser.at += 2;
                Some(parser.expr()?)
            } else {
                None
            };
            Ok(Series { value, default })
        })?;
        self.expect_word("on")?;
        // `in` here belongs to the operator.
        let start = self.token(0);
        let axis = self.axis()?;
        let (mut from, mut to, mut step) = (None, None, None);
        let in_range = self.is_word("in") && self.word(1) == Some("range");
        if in_range {
            self.at += 2;
            self.expect_sign("(")?;
            from = Some(self.expr()?);
            self.expect_sign(",")?;
            to = Some(self.expr()?);
            self.expect_sign(",")?;
            step = Some(self.expr()?);
            self.expect_sign(")")?;
        } else {
            if self.eat_word("from") {
                from = Some(self.expr()?);
            }
            if self.eat_word("to") {
                to = Some(self.expr()?);
            }
            if self.eat_word("step") {
                step = Some(self.expr()?);
            }
            if step.is_none() {
                let span = self.since(start);
                return self.fault(Code::Syntax, span, "`make-series` needs a `step`");
            }
        }
        let by = if self.eat_word("by") { self.list(Self::named)? } else { Vec::new() };
        Ok(MakeSeries { series, axis, from, to, step, in_range, by, properties })
    }

    fn axis(&mut self) -> Result<Named> {
        let mut names = Vec::new();
        if self.name_len() > 0 && self.is_sign_at(self.name_len(), "=") {
            names.push(self.name()?);
            self.expect_sign("=")?;
        }
        let length = self.name_len();
        let value = if length > 0 && self.is_word_at(length, "in") && self.word(length + 1) == Some("range") {
            let name = self.name()?;
            Expr { kind: ExprKind::Name(name.text), span: name.span }
        } else {
            self.expr()?
        };
        Ok(Named { names, tuple: false, value })
    }

    fn is_word_at(&self, ahead: usize, word: &str) -> bool {
        self.word(ahead) == Some(word)
    }

    fn mv_items(&mut self) -> Result<(Vec<Property>, Vec<Expand>, Option<Expr>)> {
        let properties = self.properties(&["kind", "bagexpansion", "with_itemindex"])?;
        let items = self.list(|parser| {
            let value = parser.named()?;
            let to = if parser.eat_word("to") {
                parser.expect_word("typeof")?;
                parser.expect_sign("(")?;
                let ty = parser.type_name()?;
                parser.expect_sign(")")?;
                Some(ty)
            } else {
                None
            };
            Ok(Expand { value, to })
        })?;
        let limit = if self.eat_word("limit") { Some(self.expr()?) } else { None };
        Ok((properties, items, limit))
    }

    fn mv_expand(&mut self) -> Result<OperatorKind> {
        let (properties, items, limit) = self.mv_items()?;
        Ok(OperatorKind::MvExpand { items, limit, properties })
    }

    fn mv_apply(&mut self) -> Result<OperatorKind> {
        let (properties, items, limit) = self.mv_items()?;
        if self.eat_word("id") {
            self.try_literal()?;
        }
        self.expect_word("on")?;
        self.expect_sign("(")?;
        let body = Box::new(self.sub_pipe()?);
        self.expect_sign(")")?;
        Ok(OperatorKind::MvApply { items, limit, body, properties })
    }

    fn parse_operator(&mut self, drop_failed: bool) -> Result<OperatorKind> {
        let properties = self.properties(&["kind", "flags"])?;
        let text = self.expr()?;
        self.expect_word("with")?;
        let mut pieces = Vec::new();
        while !self.at_operator_end() {
            let token = self.token(0);
            pieces.push(if self.eat_sign("*") {
                ParsePiece::Star
            } else if token.kind == Kind::String {
                ParsePiece::Text(self.string()?)
            } else {
                let name = self.name()?;
                let ty = if self.eat_sign(":") { self.type_name()? } else { Type::String };
                ParsePiece::Capture { name, ty }
            });
        }
        if pieces.is_empty() {
            return self.expected("a pattern");
        }
        Ok(OperatorKind::Parse(Box::new(Parse { text, pieces, properties, drop_failed })))
    }

    fn parse_kv(&mut self) -> Result<OperatorKind> {
        let text = self.expr()?;
        self.expect_word("as")?;
        let keys: Vec<ColumnDeclaration> = self.schema()?;
        let mut with = Vec::new();
        if self.eat_word("with") {
            self.expect_sign("(")?;
            with = self.list_until(")", Self::property)?;
        }
        Ok(OperatorKind::ParseKv { text, keys, with })
    }

    fn partition(&mut self) -> Result<OperatorKind> {
        let properties = self.properties(&[])?;
        self.expect_word("by")?;
        let key = self.column_path()?;
        let close = if self.eat_sign("{") {
            "}"
        } else {
            self.expect_sign("(")?;
            ")"
        };
        let body = Box::new(self.sub_pipe()?);
        self.expect_sign(close)?;
        Ok(OperatorKind::Partition { key, body, properties })
    }

    fn range(&mut self) -> Result<OperatorKind> {
        let name = self.name()?;
        self.expect_word("from")?;
        let from = self.expr()?;
        self.expect_word("to")?;
        let to = self.expr()?;
        self.expect_word("step")?;
        Ok(OperatorKind::Range { name, from, to, step: self.expr()? })
    }

    fn reduce(&mut self) -> Result<OperatorKind> {
        let properties = self.properties(&["kind"])?;
        self.expect_word("by")?;
        let of = self.expr()?;
        let with = if self.eat_word("with") { self.list(Self::property)? } else { Vec::new() };
        Ok(OperatorKind::Reduce { of, properties, with })
    }

    fn render(&mut self) -> Result<OperatorKind> {
        if self.is_word("with") || self.is_sign_at(1, "=") {
            return self.expected("a kind of chart");
        }
        let kind = self.any_word()?;
        let mut properties = Vec::new();
        if self.eat_word("with") {
            self.expect_sign("(")?;
            properties = self.list_until(")", Self::render_property)?;
        } else {
            if self.eat_word("by") {
                self.list(Self::name)?;
            }
            while self.word(0).is_some() && self.is_sign_at(1, "=") {
                properties.push(self.render_property()?);
                self.eat_sign(",");
            }
        }
        Ok(OperatorKind::Render { kind, properties })
    }

    /// `title = "x"`, `ycolumns = a, b`
    fn render_property(&mut self) -> Result<Property> {
        let name = self.any_word()?;
        self.expect_sign("=")?;
        let start = self.token(0);
        let mut value = self.property_value()?;
        while self.is_sign(",") && self.word(1).is_some() && !self.is_sign_at(2, "=") {
            self.advance();
            let more = self.property_value()?;
            if let (ExprKind::Name(names), ExprKind::Name(more)) = (&mut value.kind, more.kind) {
                names.push(',');
                names.push_str(&more);
            }
            value.span = self.since(start);
        }
        Ok(Property { name, value })
    }

    fn scan(&mut self) -> Result<OperatorKind> {
        let properties = self.properties(&["with_match_id"])?;
        let order = if self.eat_word("order") {
            self.expect_word("by")?;
            self.list(Self::ordered)?
        } else {
            Vec::new()
        };
        let partition = if self.eat_word("partition") {
            self.expect_word("by")?;
            self.list(Self::postfix)?
        } else {
            Vec::new()
        };
        let declared = if self.eat_word("declare") { self.parameters()? } else { Vec::new() };
        self.expect_word("with")?;
        self.expect_sign("(")?;
        let mut steps = Vec::new();
        while !self.eat_sign(")") {
            steps.push(self.scan_step()?);
            self.expect_sign(";")?;
        }
        Ok(OperatorKind::Scan(Box::new(Scan { properties, order, partition, declared, steps })))
    }

    fn scan_step(&mut self) -> Result<ScanStep> {
        self.expect_word("step")?;
        let name = self.name()?;
        let optional = self.eat_word("optional");
        let mut output = StepOutput::All;
        if self.is_word("output") && self.is_sign_at(1, "=") {
            self.at += 2;
            output = match self.word(0) {
                Some("all") => StepOutput::All,
                Some("last") => StepOutput::Last,
                Some("none") => StepOutput::None,
                _ => return self.expected("`all`, `last` or `none`"),
            };
            self.advance();
        }
        self.expect_sign(":")?;
        let condition = self.expr()?;
        let mut assignments = Vec::new();
        if self.eat_sign("=>") {
            assignments = self.list(|parser| {
                let name = parser.name()?;
                parser.expect_sign("=")?;
                Ok((name, parser.expr()?))
            })?;
        }
        Ok(ScanStep { name, optional, output, condition, assignments })
    }

    fn summarize(&mut self) -> Result<OperatorKind> {
        let properties = self.properties(&[])?;
        let aggregates = if self.is_word("by") { Vec::new() } else { self.maybe_list(Self::named)? };
        let mut by = Vec::new();
        let mut bin = None;
        if self.eat_word("by") {
            by = self.list(Self::named)?;
            if self.is_word("bin") && self.is_sign_at(1, "=") {
                self.at += 2;
                bin = Some(self.expr()?);
            }
        }
        Ok(OperatorKind::Summarize { aggregates, by, bin, properties })
    }

    fn top_nested(&mut self) -> Result<OperatorKind> {
        let mut levels = Vec::new();
        loop {
            let count = if self.is_word("of") { None } else { Some(self.expr()?) };
            self.expect_word("of")?;
            let of = self.named()?;
            let others = if self.eat_word("with") {
                self.expect_word("others")?;
                self.expect_sign("=")?;
                Some(self.expr()?)
            } else {
                None
            };
            self.expect_word("by")?;
            let by = self.ordered()?;
            levels.push(NestedLevel { count, of, others, by });
            if !self.eat_sign(",") {
                return Ok(OperatorKind::TopNested(levels));
            }
            match self.operator_name() {
                Some((name, tokens)) if name == "top-nested" => self.at += tokens,
                _ => return self.expected("`top-nested`"),
            }
        }
    }
}

/// Reads what stands behind an operator's name.
type Read = for<'p> fn(&mut Parser<'p>) -> Result<OperatorKind>;

/// The operators by name.
const OPERATORS: [(&str, Read); 57] = [
    ("as", |p| Ok(OperatorKind::As { properties: p.properties(&[])?, name: p.name()? })),
    ("assert-schema", |p| Ok(OperatorKind::AssertSchema(p.schema()?))),
    ("consume", |p| Ok(OperatorKind::Consume(p.properties(&["decodeblocks"])?))),
    ("count", |p| Ok(OperatorKind::Count(if p.eat_word("as") { Some(p.name()?) } else { None }))),
    ("distinct", |p| {
        p.properties(&[])?;
        Ok(OperatorKind::Distinct(p.list(Parser::named)?))
    }),
    ("evaluate", |p| p.evaluate()),
    ("execute_and_cache", |_| Ok(OperatorKind::ExecuteAndCache)),
    ("extend", |p| Ok(OperatorKind::Extend(p.list(Parser::named)?))),
    ("facet", |p| p.facet()),
    ("filter", |p| p.filter()),
    ("find", |p| p.find()),
    ("fork", |p| p.fork()),
    ("getschema", |p| Ok(OperatorKind::GetSchema(p.properties(&["kind"])?))),
    ("graph-mark-components", |p| Ok(OperatorKind::GraphMarkComponents(p.properties(&["kind", "with_component_id"])?))),
    ("graph-match", |p| Ok(OperatorKind::GraphMatch(Box::new(p.graph_match(&["cycles"])?)))),
    ("graph-shortest-paths", |p| Ok(OperatorKind::GraphShortestPaths(Box::new(p.graph_match(&["output", "cycles"])?)))),
    ("graph-to-table", |p| Ok(OperatorKind::GraphToTable(p.list(Parser::graph_table)?))),
    ("graph-where-edges", |p| Ok(OperatorKind::GraphWhere { edges: true, predicate: p.expr()? })),
    ("graph-where-nodes", |p| Ok(OperatorKind::GraphWhere { edges: false, predicate: p.expr()? })),
    ("invoke", |p| Ok(OperatorKind::Invoke(p.postfix()?))),
    ("join", |p| {
        let (properties, table, on) = p.join()?;
        Ok(OperatorKind::Join { table, on, properties })
    }),
    ("limit", |p| p.take()),
    ("lookup", |p| {
        let (properties, table, on) = p.join()?;
        Ok(OperatorKind::Lookup { table, on, properties })
    }),
    ("make-graph", |p| Ok(OperatorKind::MakeGraph(Box::new(p.make_graph()?)))),
    ("make-series", |p| Ok(OperatorKind::MakeSeries(Box::new(p.make_series()?)))),
    ("mv-apply", |p| p.mv_apply()),
    ("mv-expand", |p| p.mv_expand()),
    ("mvapply", |p| p.mv_apply()),
    ("mvexpand", |p| p.mv_expand()),
    ("order", |p| p.sort()),
    ("parse", |p| p.parse_operator(false)),
    ("parse-kv", |p| p.parse_kv()),
    ("parse-where", |p| p.parse_operator(true)),
    ("partition", |p| p.partition()),
    ("print", |p| Ok(OperatorKind::Print(p.list(Parser::named)?))),
    ("project", |p| Ok(OperatorKind::Project(p.maybe_list(Parser::named)?))),
    ("project-away", |p| Ok(OperatorKind::ProjectAway(p.maybe_list(Parser::name_or_wildcard)?))),
    ("project-by-names", |p| Ok(OperatorKind::ProjectByNames(p.list(Parser::expr)?))),
    ("project-keep", |p| Ok(OperatorKind::ProjectKeep(p.maybe_list(Parser::name_or_wildcard)?))),
    ("project-rename", |p| Ok(OperatorKind::ProjectRename(p.maybe_list(Parser::named)?))),
    ("project-reorder", |p| Ok(OperatorKind::ProjectReorder(p.maybe_list(Parser::reorder)?))),
    ("range", |p| p.range()),
    ("reduce", |p| p.reduce()),
    ("render", |p| p.render()),
    ("sample", |p| {
        p.properties(&[])?;
        Ok(OperatorKind::Sample(p.expr()?))
    }),
    ("sample-distinct", |p| {
        p.properties(&[])?;
        let count = p.expr()?;
        p.expect_word("of")?;
        Ok(OperatorKind::SampleDistinct { count, of: p.expr()? })
    }),
    ("scan", |p| p.scan()),
    ("search", |p| p.search()),
    ("serialize", |p| {
        p.properties(&[])?;
        Ok(OperatorKind::Serialize(p.maybe_list(Parser::named)?))
    }),
    ("sort", |p| p.sort()),
    ("summarize", |p| p.summarize()),
    ("take", |p| p.take()),
    ("top", |p| {
        let properties = p.properties(&[])?;
        let count = p.expr()?;
        p.expect_word("by")?;
        Ok(OperatorKind::Top { count, by: vec![p.ordered()?], properties })
    }),
    ("top-hitters", |p| {
        p.properties(&[])?;
        let count = p.expr()?;
        p.expect_word("of")?;
        let of = p.expr()?;
        let by = if p.eat_word("by") { Some(p.expr()?) } else { None };
        Ok(OperatorKind::TopHitters { count, of, by })
    }),
    ("top-nested", |p| p.top_nested()),
    ("union", |p| {
        let properties = p.properties(&["kind", "withsource", "with_source", "isfuzzy"])?;
        Ok(OperatorKind::Union { tables: p.list(Parser::source)?, properties })
    }),
    ("where", |p| p.filter()),
];
