//! The homeserver, and our registration as it has it.
//!
//! A homeserver doesn't show the registration that it loaded. But what it does tells each part of it: whose the token
//! is, whether it calls us, which names are ours. Nothing here changes anything there.

use super::{NetProbe, clock};
use crate::cli::check::Finding;
use crate::config::Config;
use crate::failure::Failure;
use crate::service;
use appservice::homeserver::probe::Probed;
use appservice::{Homeserver, HomeserverError, NAMESPACE};
use serde_json::Value;
use tokio::runtime::Runtime;

/// A version of the client-server API that has all we need (v1.7 brought the ping).
const NEEDED: (u32, u32) = (1, 7);

pub(in crate::cli) fn probes<'a>(config: &'a Config, runtime: &'a Runtime) -> Vec<NetProbe<'a>> {
    if config.homeserver.is_none() {
        return Vec::new();
    }
    let mut all = vec![
        NetProbe::new(runtime, "homeserver.versions", move || with(config, versions)),
        NetProbe::new(runtime, "homeserver.as-token", move || with(config, as_token)),
    ];
    all.push(NetProbe::new(runtime, "homeserver.ping", move || {
        with(config, move |h| ping(config, h))
    }));
    all.push(NetProbe::new(runtime, "homeserver.users", move || {
        with(config, users)
    }));
    all.push(NetProbe::new(runtime, "homeserver.aliases", move || {
        with(config, aliases)
    }));
    all.push(NetProbe::new(runtime, "homeserver.device", move || {
        with(config, device)
    }));
    all.push(NetProbe::new(runtime, "homeserver.media", move || {
        with(config, media)
    }));
    all.push(NetProbe::new(runtime, "homeserver.openid", move || {
        with(config, openid)
    }));
    all.push(NetProbe::new(runtime, "homeserver.rotation", move || {
        std::future::ready(rotation(config))
    }));
    all
}

async fn with<F>(config: &Config, look: impl FnOnce(Homeserver) -> F) -> Finding
where
    F: Future<Output = Finding>,
{
    match service::homeserver(config) {
        Ok(Some((homeserver, _))) => look(homeserver).await,
        Ok(None) => Finding::ok("no homeserver"),
        Err(failure) => Finding::of(&failure),
    }
}

fn away(error: &HomeserverError) -> Finding {
    Finding::error(
        error.to_string(),
        "is it running? Check homeserver.url, and that this machine may connect there",
    )
}

fn strange(what: &str, answer: &Probed) -> Finding {
    Finding::error(
        format!(
            "{what}: HTTP status {} {} {}",
            answer.status,
            answer.errcode(),
            answer.error()
        ),
        "is homeserver.url the base of the client-server API, without a path? See the homeserver's log",
    )
}

async fn versions(homeserver: Homeserver) -> Finding {
    let answer = match homeserver.look("/_matrix/client/versions", false).await {
        Ok(answer) if answer.status == 200 => answer,
        Ok(answer) => return strange("/_matrix/client/versions", &answer),
        Err(error) => return away(&error),
    };
    if let Some(finding) = clock::difference("the homeserver", answer.date.as_deref()) {
        return finding;
    }
    let known: Vec<(u32, u32)> = answer
        .body
        .get("versions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|v| {
            let (major, minor) = v.as_str()?.strip_prefix('v')?.split_once('.')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        })
        .collect();
    let newest = known.iter().max().copied().unwrap_or_default();
    if newest < NEEDED {
        return Finding::error(
            format!("the homeserver speaks Matrix v{}.{} at most", newest.0, newest.1),
            format!(
                "Causeway needs v{}.{}: upgrade the homeserver",
                NEEDED.0, NEEDED.1
            ),
        );
    }
    let feature = |name: &str| {
        answer
            .body
            .pointer(&format!("/unstable_features/{name}"))
            .and_then(Value::as_bool)
            .unwrap_or(false)
    };
    let wanted: Vec<&str> = [
        "org.matrix.msc3202",
        "io.element.msc4190",
        "org.matrix.msc3916.stable",
    ]
    .into_iter()
    .filter(|name| feature(name))
    .collect();
    Finding::ok(format!(
        "the homeserver speaks Matrix v{}.{}, its clock agrees with ours; unstable features it announces: {}",
        newest.0,
        newest.1,
        if wanted.is_empty() {
            "none of ours (they are used where they work)".to_owned()
        } else {
            wanted.join(", ")
        }
    ))
}

async fn as_token(homeserver: Homeserver) -> Finding {
    let answer = match homeserver.whose_token().await {
        Ok(user) => user,
        Err(error) if error.errcode() == Some("M_UNKNOWN_TOKEN") => {
            return Finding::error(
                "the homeserver doesn't know our as_token",
                "it loaded no registration of ours, or an older one: compare app_service_config_files in its configuration \
                 with appservice.registration, then restart it",
            );
        }
        Err(error) if error.status() == Some(403) => {
            return Finding::warning(
                "the bot isn't registered yet",
                "start the service once; it registers the bot",
            );
        }
        Err(error) => return away(&error),
    };
    if answer == homeserver.bot() {
        Finding::ok(format!("the homeserver knows our as_token, as {answer}"))
    } else {
        Finding::error(
            format!(
                "the homeserver says that our as_token is {answer}'s, not {}'s",
                homeserver.bot()
            ),
            "sender_localpart in the registration that it loaded is another, or homeserver.server_name is wrong; mend it, \
             restart the homeserver",
        )
    }
}

async fn ping(config: &Config, homeserver: Homeserver) -> Finding {
    let url = crate::matrix::registration(config)
        .ok()
        .and_then(|r| r.url)
        .unwrap_or_default();
    let listen = config
        .appservice
        .as_ref()
        .map(|a| a.listen.to_string())
        .unwrap_or_default();
    let error = match homeserver.ping().await {
        Ok(took) => {
            return Finding::ok(format!(
                "the homeserver reaches us at {url} and we it: its ping took {} ms",
                took.as_millis()
            ));
        }
        Err(error) => error,
    };
    let (cause, remedy) = match error.errcode().unwrap_or_default() {
        "M_CONNECTION_FAILED" => (
            format!("the homeserver can't connect to {url}"),
            format!(
                "is the service running on {listen}? Is url in the registration how the homeserver reaches that (from inside its \
                 container, if it is in one)? Does its configuration block that address (ip_range_blacklist)?"
            ),
        ),
        "M_CONNECTION_TIMEOUT" => (
            format!("the homeserver's connection to {url} ends in a time-out"),
            "a firewall between the two, or something else listens there".to_owned(),
        ),
        "M_BAD_STATUS" => (
            format!("something at {url} answers the homeserver's ping with an error: {error}"),
            "403: the homeserver has another hs_token than we (it loaded an older registration: restart it). 404: another program \
             listens there, or a proxy leads elsewhere"
                .to_owned(),
        ),
        "M_URL_NOT_SET" => (
            "the homeserver's registration of us has no url".to_owned(),
            "set url in the registration, restart the homeserver".to_owned(),
        ),
        "M_FORBIDDEN" | "M_NOT_FOUND" => (
            format!("the homeserver knows no application service {:?} with our token", appservice::registration::DEFAULT_ID),
            "compare id in the registration that it loaded with ours, then restart it".to_owned(),
        ),
        "M_UNRECOGNIZED" => (
            "the homeserver has no ping for application services".to_owned(),
            "upgrade it; without ping its back-off after an outage of ours can take minutes".to_owned(),
        ),
        _ => (error.to_string(), "see homeserver.as-token above, and the homeserver's log".to_owned()),
    };
    Finding::error(cause, remedy)
}

/// Whether the namespaces are as we have them: ours to act in, and nobody else's to take.
async fn users(homeserver: Homeserver) -> Finding {
    // A ghost that nobody will ever have.
    let localpart = format!("{NAMESPACE}h_doctor");
    let ours = homeserver
        .look(
            &format!(
                "/_matrix/client/v3/account/whoami?user_id=%40{localpart}%3A{}",
                homeserver.server_name()
            ),
            true,
        )
        .await;
    match ours {
        Err(error) => return away(&error),
        Ok(answer) if answer.error().contains("masquerade") => {
            return Finding::error(
                format!(
                    "the homeserver doesn't let us act for @{NAMESPACE}...: another namespace for users in its registration"
                ),
                "compare namespaces.users with `causeway appservice registration --diff`, restart the homeserver",
            );
        }
        Ok(_) => {}
    }
    let taken = homeserver
        .look(
            &format!("/_matrix/client/v3/register/available?username={localpart}"),
            false,
        )
        .await;
    match taken {
        Err(error) => away(&error),
        // Some homeservers let nobody but application services begin a name with an underscore.
        Ok(answer) if matches!(answer.errcode(), "M_EXCLUSIVE" | "M_INVALID_USERNAME") => Finding::ok(
            format!("@{NAMESPACE}... is ours alone: the homeserver lets nobody else take such a name"),
        ),
        // Registration is closed, or done elsewhere (OAuth): then nobody can take a name here anyway.
        Ok(answer) if answer.status == 403 || answer.status == 404 || answer.status == 429 => {
            Finding::ok(format!(
                "we may act for @{NAMESPACE}...; whether others could take such names can't be seen, as registration is closed here"
            ))
        }
        Ok(answer) if answer.status == 200 => Finding::error(
            format!("anybody may register @{NAMESPACE}... on the homeserver"),
            "set exclusive: true in namespaces.users of the registration, restart the homeserver",
        ),
        Ok(answer) => strange("register/available", &answer),
    }
}

async fn aliases(homeserver: Homeserver) -> Finding {
    let path = format!(
        "/_matrix/client/v3/directory/room/%23{NAMESPACE}h_doctor%3A{}",
        homeserver.server_name()
    );
    match homeserver.look(&path, true).await {
        Err(error) => away(&error),
        Ok(answer) if answer.status == 404 && answer.errcode() == "M_NOT_FOUND" => Finding::ok(format!(
            "aliases #{NAMESPACE}... are looked up ({}:{})",
            homeserver.server_name(),
            answer.error()
        )),
        Ok(answer) => strange("directory/room", &answer),
    }
}

async fn device(homeserver: Homeserver) -> Finding {
    let path = format!(
        "/_matrix/client/v3/account/whoami?user_id=%40{}%3A{}&device_id=CAUSEWAY",
        appservice::BOT_LOCALPART,
        homeserver.server_name()
    );
    match homeserver.look(&path, true).await {
        Err(error) => away(&error),
        Ok(answer) if answer.status == 200 => {
            if answer
                .body
                .get("device_id")
                .is_some_and(|device| device == "CAUSEWAY")
            {
                return Finding::ok("the bot acts as its device, so the homeserver remembers what it sent");
            }
            Finding::ok(
                "the homeserver doesn't let the bot act as a device (MSC4326): timelines are looked into before anything is \
                 repeated",
            )
        }
        Ok(answer) if answer.errcode() == "M_UNKNOWN_DEVICE" => Finding::warning(
            "the bot has no device yet",
            "start the service once; it makes the device",
        ),
        Ok(answer) => strange("account/whoami", &answer),
    }
}

async fn media(homeserver: Homeserver) -> Finding {
    let answer = match homeserver.look("/_matrix/client/v1/media/config", true).await {
        Ok(answer) => answer,
        Err(error) => return away(&error),
    };
    if answer.status == 404 {
        return Finding::warning(
            "the homeserver has no authenticated media (Matrix v1.11)",
            "upgrade it: avatars of ghosts may be missing until then",
        );
    }
    if answer.status != 200 {
        return strange("media/config", &answer);
    }
    let size = answer.body.get("m.upload.size").and_then(Value::as_u64);
    Finding::ok(format!(
        "media with authentication, uploads up to {}",
        size.map_or_else(|| "any size".to_owned(), |s| format!("{} KiB", s / 1024))
    ))
}

/// Sign-in of clients needs it; a made-up token must be refused as one, not as an unknown path.
async fn openid(homeserver: Homeserver) -> Finding {
    match homeserver.openid_subject("causeway-doctor").await {
        Ok(_) => Finding::ok("OpenID tokens of this homeserver's users can be checked, so they can sign in"),
        Err(error) if matches!(error.status(), Some(404)) || error.errcode() == Some("M_UNRECOGNIZED") => {
            Finding::error(
                "the homeserver checks no OpenID tokens where homeserver.openid_url leads, so nobody can sign in",
                "add the resource `openid` (or `federation`) to one of its listeners, and name that as homeserver.openid_url",
            )
        }
        Err(error) => away(&error),
    }
}

fn rotation(config: &Config) -> Finding {
    let previous = crate::matrix::previous_path(config);
    if !previous.exists() {
        return Finding::ok("no rotation of tokens is going on");
    }
    Finding::warning(
        format!(
            "tokens are being rotated: those of {} are still good",
            previous.display()
        ),
        "when the homeserver has the new registration: causeway appservice rotate --finish",
    )
}

/// What the homeserver does, against what the registration demands of it: problems only.
pub(in crate::cli) fn differences(
    config: &Config,
    runtime: &Runtime,
) -> Result<Vec<(String, Finding)>, Failure> {
    use crate::cli::check::{Level, Probe as _};
    // Says in the operator's terms if even this can't be read.
    crate::matrix::registration(config)?;
    Ok(probes(config, runtime)
        .into_iter()
        .filter(|probe| {
            ["homeserver.as-token", "homeserver.ping", "homeserver.users"].contains(&probe.name.as_str())
        })
        .map(|probe| (probe.name.clone(), probe.run()))
        .filter(|(_, finding)| finding.level != Level::Ok)
        .collect())
}
