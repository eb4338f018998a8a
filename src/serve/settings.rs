//! Settings of the server: the shape of `[serve]`.

use std::{
    net::SocketAddr,
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use crate::upstream::{error::UpstreamError, http::BaseUrl, settings::Secret};

/// How the server listens, and its limits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServeConfig {
    /// Where to listen.
    pub addr: SocketAddr,
    /// What users reach the server under; empty for what their request says.
    pub public_url: String,
    /// Origins whose pages may call the API, such as `https://intranet.example`.
    pub cors_origins: Vec<Origin>,
    /// Certificates (PEM), the server's own first; empty for plain HTTP.
    pub tls_cert: PathBuf,
    /// The private key (PEM).
    pub tls_key: PathBuf,
    /// Connections at a time at most.
    pub connections_max: NonZeroUsize,
    /// Seconds for the head of a request, and for its body to go on.
    pub read_seconds: NonZeroU64,
    /// Bytes of a request's body at most, uploads aside.
    pub body_bytes_max: NonZeroUsize,
    /// Bytes of one upload at most.
    pub upload_bytes_max: NonZeroUsize,
    /// Answers that are written at a time.
    pub answers_max: NonZeroUsize,
    /// Requests that wait for one of those places at most.
    pub queue_max: NonZeroUsize,
    /// Requests a minute of one key; 0 for any number. Without keys there is no limit.
    pub requests_per_minute: u32,
    /// Seconds that a shutdown waits for answers that are being written.
    pub drain_seconds: u64,
    /// Days that conversations and answers are kept; 0 for not at all.
    pub keep_days: u32,
    /// Whether the audit record holds the text of questions.
    pub audit_questions: bool,
    /// Folders of datasets that administrators look through: a dataset, or a folder that holds some.
    pub dataset_dirs: Vec<PathBuf>,
    /// Slack.
    pub slack: SlackConfig,
    /// Mattermost.
    pub mattermost: MattermostConfig,
    /// Microsoft Teams.
    pub teams: TeamsConfig,
}

/// Where a page comes from, as browsers say it (RFC 6454): scheme, host and, unless it is the
/// scheme's own, port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(String);

/// A text is no [`Origin`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no origin: write `https://intranet.example`, with a port where there is one, without a path"
)]
pub struct NotAnOrigin(String);

impl TryFrom<String> for Origin {
    type Error = NotAnOrigin;

    fn try_from(text: String) -> Result<Self, NotAnOrigin> {
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let is_host_char =
            |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.' | ':' | '[' | ']');
        match host.is_some_and(|it| !it.is_empty() && it.chars().all(is_host_char)) {
            true => Ok(Self(text)),
            false => Err(NotAnOrigin(text)),
        }
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

impl Origin {
    /// As a browser's `Origin` header holds it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A Slack app that asks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SlackConfig {
    /// The environment variable that holds the app's signing secret; empty for no Slack.
    pub signing_secret_env: String,
    /// The environment variable that holds the bot's token; empty for slash commands only.
    pub bot_token_env: String,
    /// Groups whose documents its users read, beside those that are open to everyone.
    pub groups: Vec<String>,
    /// The collection that answers; empty for all.
    pub collection: String,
    /// Whether only who asked sees the answer.
    pub ephemeral: bool,
    /// Where Slack's API begins. Answers go to this host and those below it.
    pub api_url: String,
    /// What the variable holds.
    #[serde(skip)]
    pub signing_secret: Secret,
    /// What the variable holds.
    #[serde(skip)]
    pub bot_token: Secret,
}

/// A Mattermost server that asks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MattermostConfig {
    /// The environment variable that holds the tokens of commands and webhooks, separated by spaces
    /// or commas; empty for no Mattermost.
    pub token_env: String,
    /// Where the server is: answers that take long go there. Empty: they come at once or not at all.
    pub url: String,
    /// Groups whose documents its users read, beside those that are open to everyone.
    pub groups: Vec<String>,
    /// The collection that answers; empty for all.
    pub collection: String,
    /// Whether only who gave the command sees the answer.
    pub ephemeral: bool,
    /// Seconds that Mattermost waits for what is answered at once.
    pub wait_seconds: NonZeroU64,
    /// What the variable holds.
    #[serde(skip)]
    pub tokens: Secret,
}

/// An outgoing webhook of Microsoft Teams.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TeamsConfig {
    /// The environment variable that holds the webhook's security token; empty for no Teams.
    pub secret_env: String,
    /// Groups whose documents its users read, beside those that are open to everyone.
    pub groups: Vec<String>,
    /// The collection that answers; empty for all.
    pub collection: String,
    /// Seconds that Teams waits for an answer.
    pub wait_seconds: NonZeroU64,
    /// What the variable holds.
    #[serde(skip)]
    pub secret: Secret,
}

/// Settings of a chat tool that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ToolSettingsError {
    /// A variable that is named holds nothing.
    #[error("`{key}` names the environment variable {variable}, which holds nothing")]
    NoSecret {
        /// The setting.
        key: &'static str,
        /// The variable.
        variable: String,
    },
    /// A setting that another one needs is empty.
    #[error("`{key}` is set, and needs `{needs}`")]
    Needs {
        /// The setting that is set.
        key: &'static str,
        /// The one that is not.
        needs: &'static str,
    },
    /// The webhook's security token is not what Teams gives.
    #[error("what {variable} holds is no security token of Teams: it is not Base64")]
    NotBase64 {
        /// The variable.
        variable: String,
    },
    /// An address is none.
    #[error(transparent)]
    Url(#[from] UpstreamError),
}

impl SlackConfig {
    /// The setting of the API's address.
    pub const API_URL: &'static str = "serve.slack.api_url";
}

impl MattermostConfig {
    /// The setting of the server's address.
    pub const URL: &'static str = "serve.mattermost.url";
}

impl ServeConfig {
    /// Checks that chat tools that are set up can work.
    ///
    /// # Errors
    /// [`ToolSettingsError`]
    pub fn check_tools(&self) -> Result<(), ToolSettingsError> {
        let Self { slack, mattermost, teams, .. } = self;
        let secrets = [
            ("serve.slack.signing_secret_env", &slack.signing_secret_env, &slack.signing_secret),
            ("serve.slack.bot_token_env", &slack.bot_token_env, &slack.bot_token),
            ("serve.mattermost.token_env", &mattermost.token_env, &mattermost.tokens),
            ("serve.teams.secret_env", &teams.secret_env, &teams.secret),
        ];
        for (key, variable, secret) in secrets {
            if !variable.is_empty() && secret.is_empty() {
                return Err(ToolSettingsError::NoSecret { key, variable: variable.clone() });
            }
        }
        if !slack.bot_token.is_empty() && slack.signing_secret.is_empty() {
            let (key, needs) = ("serve.slack.bot_token_env", "serve.slack.signing_secret_env");
            return Err(ToolSettingsError::Needs { key, needs });
        }
        if !slack.signing_secret.is_empty() {
            BaseUrl::parse(SlackConfig::API_URL, &slack.api_url)?;
        }
        if !mattermost.url.is_empty() {
            BaseUrl::parse(MattermostConfig::URL, &mattermost.url)?;
        }
        if BASE64_STANDARD.decode(teams.secret.reveal()).is_err() {
            return Err(ToolSettingsError::NotBase64 { variable: teams.secret_env.clone() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_nothing_after() {
        for good in ["https://intranet.example", "http://10.0.0.7:8080", "http://[::1]:3000"] {
            assert_eq!(Origin::try_from(good.to_owned()).unwrap().as_str(), good);
        }
        for bad in ["*", "", "https://", "intranet.example", "https://a.example/", "https://À.fr"]
        {
            assert_eq!(Origin::try_from(bad.to_owned()), Err(NotAnOrigin(bad.to_owned())));
        }
    }
}
