//! Who asks, and what they may do.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use index::filter::Filter;

use super::{error::ApiError, state::App};
use crate::records::{Key, Scope};

/// The cookie of the page.
pub(crate) const COOKIE: &str = "souffleur_session";

/// Somebody who may read.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    /// Their key; none where none is needed.
    pub(crate) key: Option<Key>,
    /// What the audit record calls the request.
    pub(crate) request: String,
}

/// Somebody who may upload, delete and ingest.
#[derive(Debug, Clone)]
pub(crate) struct Author(pub(crate) Reader);

/// Somebody who may do everything.
#[derive(Debug, Clone)]
pub(crate) struct Admin(pub(crate) Reader);

impl Reader {
    /// What their conversations are kept under.
    pub(crate) fn owner(&self) -> &str {
        self.key.as_ref().map_or("", |it| it.id.as_str())
    }

    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.key.as_ref().is_none_or(|it| it.scope >= scope)
    }

    /// Groups whose documents they read, beside those that are open to everyone; `None` for all.
    pub(crate) fn groups(&self) -> Option<Vec<String>> {
        self.key.as_ref().filter(|it| it.scope < Scope::Admin).map(|it| it.groups.clone())
    }

    /// Lets through what they may read.
    pub(crate) fn filter(&self) -> Filter {
        Filter { groups: self.groups(), ..Filter::default() }
    }

    /// Whether they may read a document of these groups.
    pub(crate) fn reads(&self, groups: &[String]) -> bool {
        let facets = index::filter::Facets { groups: groups.to_vec(), ..Default::default() };
        self.filter().matches(&facets)
    }
}

impl FromRequestParts<Arc<App>> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let request = request_id(&parts.headers);
        // Microseconds: these look-ups have a connection of their own, which waits for no writer.
        let key = match secret(&parts.headers) {
            Some(Secret::Key(secret)) => app.records.key_of(secret)?,
            Some(Secret::Session(secret)) => app.records.key_of_session(secret)?,
            None => None,
        };
        if key.is_none() && app.needs_keys()? {
            return Err(ApiError::unauthorized());
        }
        app.rates.take(key.as_ref().map_or("", |it| it.id.as_str()))?;
        Ok(Self { key, request })
    }
}

impl FromRequestParts<Arc<App>> for Author {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let reader = Reader::from_request_parts(parts, app).await?;
        match reader.may(Scope::Write) {
            true => Ok(Self(reader)),
            false => Err(ApiError::forbidden("this key may only read: it needs the scope `write`")),
        }
    }
}

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let reader = Reader::from_request_parts(parts, app).await?;
        match reader.may(Scope::Admin) {
            true => Ok(Self(reader)),
            false => Err(ApiError::forbidden("this needs a key of the scope `admin`")),
        }
    }
}

enum Secret<'a> {
    Key(&'a str),
    Session(&'a str),
}

/// What the request shows of itself: a key as OpenAI's clients send it, one as Anthropic's and
/// Azure's do, or the page's cookie.
fn secret(headers: &HeaderMap) -> Option<Secret<'_>> {
    let text = |name: &str| headers.get(name).and_then(|it| it.to_str().ok()).map(str::trim);
    if let Some(value) = text(header::AUTHORIZATION.as_str()) {
        let (scheme, key) = value.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then_some(Secret::Key(key.trim()));
    }
    if let Some(key) = text("x-api-key").or(text("api-key")) {
        return Some(Secret::Key(key));
    }
    session(headers).map(Secret::Session)
}

/// The page's session.
pub(crate) fn session(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|it| it.to_str().ok());
    let mut pairs = cookies.flat_map(|it| it.split(';')).filter_map(|it| it.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// The request's id, which the outermost layer has set.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    let id = headers.get(super::REQUEST_ID).and_then(|it| it.to_str().ok());
    id.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(scope: Scope, groups: &[&str]) -> Reader {
        let key = Key {
            id: "k_1".to_owned(),
            name: "chat".to_owned(),
            scope,
            groups: groups.iter().map(|&it| it.to_owned()).collect(),
            created: 0,
            revoked: None,
        };
        Reader { key: Some(key), request: String::new() }
    }

    #[test]
    fn a_key_reads_what_is_open_and_what_its_groups_share() {
        let rh = ["rh".to_owned()];
        assert!(reader(Scope::Read, &["rh"]).reads(&rh));
        assert!(!reader(Scope::Write, &["it"]).reads(&rh));
        assert!(!reader(Scope::Read, &[]).reads(&rh));
        assert!(reader(Scope::Read, &[]).reads(&[]));
        assert!(reader(Scope::Admin, &[]).reads(&rh));
        let nobody = Reader { key: None, request: String::new() };
        assert!(nobody.reads(&rh) && nobody.may(Scope::Admin));
    }

    #[test]
    fn keys_are_found_where_clients_put_them() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs.iter().map(|&(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect()
        };
        let found = |pairs: &[(&'static str, &'static str)]| {
            secret(&headers(pairs)).map(|it| match it {
                Secret::Key(it) => format!("key {it}"),
                Secret::Session(it) => format!("session {it}"),
            })
        };
        assert_eq!(found(&[("authorization", "Bearer abc")]).as_deref(), Some("key abc"));
        assert_eq!(found(&[("authorization", "bearer  abc ")]).as_deref(), Some("key abc"));
        assert_eq!(found(&[("authorization", "Basic abc")]), None);
        assert_eq!(found(&[("api-key", "abc")]).as_deref(), Some("key abc"));
        let cookie = [("cookie", "a=b; souffleur_session=xyz")];
        assert_eq!(found(&cookie).as_deref(), Some("session xyz"));
        assert_eq!(found(&[]), None);
    }
}
