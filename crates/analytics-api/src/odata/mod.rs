//! OData 4.0 over the tables: for Excel, Power BI and whatever reads a feed.
//!
//! Every table with a key is an entity set. What a client asks becomes a tree of KQL ([`tree`]), never a text, and runs
//! where every other query runs. Nothing can be changed here.

mod accept;
mod apply;
mod ask;
mod expand;
mod expr;
mod failure;
mod lex;
mod metadata;
mod model;
mod options;
mod page;
mod path;
#[cfg(test)]
mod tests;
mod token;
mod tree;
mod write;

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use gantry_analytics::{By, Cancel, Warehouse};
use gantry_api::{Caller, Routes, odata};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Semaphore;

use accept::Content;
use ask::Asker;
use expr::Scope;
pub use failure::Failure;
use model::{Model, Property};
use options::Options;
use page::{Page, Rows};
use path::{Place, Resource};
use write::{Detail, Form};

/// Requests that run at once; each has a thread of its own.
const REQUESTS_MAX: usize = 8;
/// Requests that wait for their turn; more are told to come again.
const WAITING_MAX: usize = 64;

/// Content type of errors.
const JSON: &str = "application/json;odata.metadata=minimal;charset=utf-8";

#[derive(Clone)]
struct Shared {
    warehouse: Arc<Warehouse>,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// The routes.
pub fn routes(warehouse: Arc<Warehouse>) -> Routes {
    let shared = Shared {
        warehouse,
        running: Arc::new(Semaphore::new(REQUESTS_MAX)),
        waiting: Arc::new(Semaphore::new(WAITING_MAX)),
    };
    let routes = Routes::new().on(odata::service(), service).on(odata::resource(), resource);
    routes.layered(|_, one| one.fallback(refuse)).with_state(shared)
}

/// What comes with another method.
async fn refuse(uri: Uri) -> Failure {
    if uri.path().ends_with("/$batch") { Failure::not_implemented("$batch") } else { Failure::read_only() }
}

async fn service(state: State<Shared>, caller: Caller, uri: Uri, headers: HeaderMap) -> Result<Response, Failure> {
    resource(state, Path(String::new()), caller, uri, headers).await
}

async fn resource(
    State(shared): State<Shared>,
    Path(path): Path<String>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    accept::version(&headers)?;
    let Query(query) = Query::<Vec<(String, String)>>::try_from_uri(&uri)
        .map_err(|_| Failure::bad_request("the query of the address cannot be read"))?;
    let options = Options::read(&query)?;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = uri.authority().map(|authority| authority.as_str()).or(host).unwrap_or("localhost");
    let by = By { principal: caller.principal(), ..By::default() };
    let request = Request { path, query, options, root: format!("https://{host}/odata/"), headers, by };
    let Ok(_waits) = shared.waiting.clone().try_acquire_owned() else { return Err(Failure::busy()) };
    let Ok(turn) = shared.running.clone().acquire_owned().await else { return Err(Failure::busy()) };
    let cancel = Cancel::default();
    // A client that hangs up drops this future, and with it what runs for it.
    let guard = CancelOnDrop(cancel.clone());
    let work = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        request.answer(&shared.warehouse, &cancel)
    });
    let ended = work.await;
    drop(guard);
    ended.unwrap_or_else(|error| {
        tracing::error!(%error, "a request ended without an answer");
        Err(Failure::internal())
    })
}

struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The version that is spoken.
fn version(headers: &mut HeaderMap) {
    headers.insert("odata-version", HeaderValue::from_static("4.0"));
}

struct Request {
    path: String,
    query: Vec<(String, String)>,
    options: Options,
    root: String,
    headers: HeaderMap,
    by: By,
}

impl Request {
    fn answer(&self, warehouse: &Warehouse, cancel: &Cancel) -> Result<Response, Failure> {
        let model = Model::of(warehouse)?;
        let scope = Scope { properties: &[], aliases: &self.options.aliases };
        let resource = path::resource(&self.path, &model, scope)?;
        let format = self.options.format.as_deref();
        match &resource {
            Resource::Metadata => return self.metadata(&model),
            Resource::Count(_) | Resource::Property(_, _, true) => {}
            _ => drop(accept::form(&self.headers, format)?),
        }
        let form =
            accept::form(&self.headers, format).unwrap_or(Form { detail: Detail::Minimal, numbers_as_text: false });
        let asker = Asker {
            warehouse,
            model: &model,
            now: crate::now(),
            cancel,
            page_size: accept::page_size(&self.headers),
            form,
            root: &self.root,
            by: &self.by,
        };
        match resource {
            Resource::Metadata => self.metadata(&model),
            Resource::Service => {
                self.takes(&["$format"], "the list of sets")?;
                Ok(json(metadata::service(&model, &self.root, form.detail > Detail::None), form))
            }
            Resource::Collection(place) => self.collection(&asker, place),
            Resource::Count(place) => {
                self.takes(&["$filter", "$apply", "$format"], "$count")?;
                let rows = rows(&asker, &place)?;
                text(asker.count_of(&rows, &self.options)?.to_string())
            }
            Resource::Entity(place) => self.entity(&asker, place),
            Resource::Property(place, property, plain) => self.property(&asker, place, property, plain),
        }
    }

    fn metadata(&self, model: &Model) -> Result<Response, Failure> {
        self.takes(&["$format"], "$metadata")?;
        let (kind, text) = match accept::of_metadata(&self.headers, self.options.format.as_deref())? {
            Content::Xml => ("application/xml;charset=utf-8", metadata::xml(model)),
            Content::Json => ("application/json;charset=utf-8", metadata::json(model)),
        };
        Ok(with_version(([(header::CONTENT_TYPE, kind)], text).into_response()))
    }

    /// Refuses options that mean nothing for a resource.
    fn takes(&self, known: &[&str], what: &str) -> Result<(), Failure> {
        let other = self.query.iter().find(|(name, _)| name.starts_with('$') && !known.contains(&name.as_str()));
        match other {
            Some((name, _)) => Err(Failure::bad_request(format!("{name} means nothing for {what}"))),
            None => Ok(()),
        }
    }

    fn context(&self, asker: &Asker, what: &str) -> String {
        if asker.form.detail == Detail::None {
            return String::new();
        }
        let mut out = String::from(r#""@odata.context":"#);
        write::string(&mut out, &format!("{}$metadata#{what}", self.root));
        out.push(',');
        out
    }

    fn collection(&self, asker: &Asker, place: Place) -> Result<Response, Failure> {
        let options = &self.options;
        if options.apply.is_some() && !options.expand.is_empty() {
            return Err(Failure::not_implemented("$expand beside $apply"));
        }
        let rows = rows(asker, &place)?;
        let set = place.set;
        let needed = self.needed(asker, &place)?;
        let mut page = asker.page(&rows, options, &needed)?;
        self.annotate(asker, &place, &mut page, &needed);
        asker.expand(set, &mut page, &needed, options)?;

        let mut body = format!("{{{}", self.context(asker, &described(set.name.as_str(), options, &page)));
        if let Some(count) = page.count {
            body.push_str(&format!(r#""@odata.count":{},"#, number(count, asker.form)));
        }
        body.push_str(r#""value":["#);
        for (at, row) in page.rows.iter().enumerate() {
            body.push_str(if at > 0 { ",{" } else { "{" });
            body.push_str(&row.members);
            body.push('}');
        }
        body.push(']');
        if let Some(next) = &page.next {
            let token = next.write()?;
            let kept = self.query.iter().filter(|(name, _)| name != "$skiptoken");
            let query =
                kept.map(|(name, value)| (name.as_str(), value.as_str())).chain([("$skiptoken", token.as_str())]);
            body.push_str(r#","@odata.nextLink":"#);
            write::string(&mut body, &address(&self.root, &self.path, query));
        }
        body.push('}');
        let mut response = json(body, asker.form);
        if let Some(rows) = asker.page_size
            && let Ok(applied) = HeaderValue::try_from(format!("odata.maxpagesize={rows}"))
        {
            response.headers_mut().insert("preference-applied", applied);
        }
        Ok(response)
    }

    /// The columns whose values are needed with each row.
    fn needed<'s>(&self, asker: &Asker, place: &Place<'s>) -> Result<Vec<&'s str>, Failure> {
        let mut needed = expand::needed(place.set, &self.options.expand)?;
        if asker.form.detail == Detail::Full && self.options.apply.is_none() {
            let missing: Vec<_> =
                place.set.key.iter().map(String::as_str).filter(|key| !needed.contains(key)).collect();
            needed.extend(missing);
        }
        Ok(needed)
    }

    /// Tells type and address of entities, when everything is to be told.
    fn annotate(&self, asker: &Asker, place: &Place, page: &mut Page, needed: &[&str]) {
        if asker.form.detail < Detail::Full || page.made {
            return;
        }
        for row in &mut page.rows {
            let key = |property: &Property| {
                let at = needed.iter().position(|known| *known == property.column)?;
                Some(format!("{}={}", property.name, write::key_literal(property.ty, (&row.beside[at]).into())))
            };
            let keys: Vec<_> = place.set.key_properties().filter_map(key).collect();
            let mut told = format!(r##""@odata.type":"#{}","@odata.id":"##, metadata::type_name(&place.set.name));
            let at = format!("{}({})", place.set.name, keys.join(","));
            write::string(&mut told, &address(&self.root, &at, []));
            if !row.members.is_empty() {
                told.push(',');
            }
            row.members.insert_str(0, &told);
        }
    }

    fn entity(&self, asker: &Asker, place: Place) -> Result<Response, Failure> {
        self.takes(&["$select", "$expand", "$format"], "one entity")?;
        let rows = rows(asker, &place)?;
        let needed = self.needed(asker, &place)?;
        let options = Options { top: Some(1), ..self.options.clone() };
        let mut page = asker.page(&rows, &options, &needed)?;
        self.annotate(asker, &place, &mut page, &needed);
        asker.expand(place.set, &mut page, &needed, &options)?;
        let none = || Failure::not_found(format!("there is no entity at `{}`", place.path));
        let row = page.rows.first().ok_or_else(none)?;
        let context = self.context(asker, &format!("{}/$entity", described(&place.set.name, &options, &page)));
        let members = if row.members.is_empty() { context.trim_end_matches(',') } else { &row.members };
        let context = if row.members.is_empty() { "" } else { context.as_str() };
        Ok(json(format!("{{{context}{members}}}"), asker.form))
    }

    fn property(&self, asker: &Asker, place: Place, property: &Property, plain: bool) -> Result<Response, Failure> {
        self.takes(&["$format"], "a property")?;
        let rows = rows(asker, &place)?;
        let mut operators = vec![tree::filter(tree::and(rows.only)), tree::take(1)];
        operators.push(tree::project(vec![tree::named(&property.column, tree::name(&property.column))]));
        let found = asker.values(&place.set.name, operators)?;
        let none = || Failure::not_found(format!("there is no entity at `{}`", place.path));
        let value = found.first().and_then(|row| row.first()).ok_or_else(none)?;
        if *value == gantry_kql::value::Value::Null {
            return Ok(with_version(StatusCode::NO_CONTENT.into_response()));
        }
        if plain {
            return text(write::plain(value.into()));
        }
        let mut body = format!("{{{}\"value\":", self.context(asker, &format!("{}/{}", place.path, property.name)));
        write::value(&mut body, property.ty, value.into(), asker.form);
        body.push('}');
        Ok(json(body, asker.form))
    }
}

/// The rows of a place; where a path begins at an entity, that must be there.
fn rows<'p>(asker: &Asker, place: &'p Place) -> Result<Rows<'p>, Failure> {
    let mut only = place.only.clone();
    if let Some((parent, key, way)) = &place.from {
        let values = way.on.iter().map(|(here, _)| tree::named(here, tree::name(here))).collect();
        let operators = vec![tree::filter(tree::and(key.clone())), tree::take(1), tree::project(values)];
        let found = asker.values(&parent.name, operators)?;
        let none = || Failure::not_found(format!("there is no entity of {} for `{}`", parent.name, place.path));
        only.extend(expand::same(way, place.set, found.first().ok_or_else(none)?));
    }
    Ok(Rows { set: place.set, only, path: &place.path })
}

/// What a result is, for its context.
fn described(set: &str, options: &Options, page: &Page) -> String {
    if options.select.is_none() && !page.made {
        return set.to_owned();
    }
    let expanded = options.expand.iter().map(|expand| format!("{}()", expand.name));
    let names: Vec<String> = page.shown.iter().map(|property| property.name.clone()).chain(expanded).collect();
    format!("{set}({})", names.join(","))
}

fn number(count: u64, form: Form) -> String {
    if form.numbers_as_text { format!("\"{count}\"") } else { count.to_string() }
}

fn with_version(mut response: Response) -> Response {
    version(response.headers_mut());
    response
}

fn json(body: String, form: Form) -> Response {
    let detail = match form.detail {
        Detail::None => "none",
        Detail::Minimal => "minimal",
        Detail::Full => "full",
    };
    let numbers = if form.numbers_as_text { "IEEE754Compatible=true;" } else { "" };
    let kind = format!("application/json;odata.metadata={detail};{numbers}charset=utf-8");
    with_version(([(header::CONTENT_TYPE, kind)], body).into_response())
}

fn text(body: String) -> Result<Response, Failure> {
    Ok(with_version(([(header::CONTENT_TYPE, "text/plain;charset=utf-8")], body).into_response()))
}

/// Characters that a path shows as they are.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/')
    .remove(b'(')
    .remove(b')')
    .remove(b'\'')
    .remove(b'=')
    .remove(b',')
    .remove(b'$');
/// Characters that a query shows as they are.
const QUERY: &AsciiSet = &PATH.remove(b':').remove(b'@').add(b'=').remove(b'*').add(b'\'');

/// An absolute address of the service.
fn address<'q>(root: &str, path: &str, query: impl IntoIterator<Item = (&'q str, &'q str)>) -> String {
    let mut text = format!("{root}{}", utf8_percent_encode(path, PATH));
    for (at, (name, value)) in query.into_iter().enumerate() {
        text.push(if at == 0 { '?' } else { '&' });
        text.extend(utf8_percent_encode(name, QUERY));
        text.push('=');
        text.extend(utf8_percent_encode(value, QUERY));
    }
    text
}
