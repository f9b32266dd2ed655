//! The registration, against the configuration.

use super::{Finding, Probe};
use crate::config::Config;
use crate::matrix;
use appservice::Registration;

struct RegistrationProbe<'a>(&'a Config);

impl Probe for RegistrationProbe<'_> {
    fn run(&self) -> Finding {
        let (Some(homeserver), Some(section)) = (&self.0.homeserver, &self.0.appservice) else {
            return Finding::ok("no homeserver, no registration");
        };
        let path = self.0.path(&section.registration);
        let shown = path.display();
        let (running, tokens) =
            match matrix::registration(self.0).and_then(|r| Ok((r, matrix::tokens(self.0)?))) {
                Ok(found) => found,
                Err(failure) => return Finding::of(&failure),
            };
        let Some(url) = &running.url else {
            return Finding::error(
                format!("{shown}: url is null, so the homeserver never calls"),
                format!(
                    "set it to where the homeserver reaches {}, and restart the homeserver",
                    section.listen
                ),
            );
        };
        let wanted =
            Registration::with_tokens(&homeserver.server_name, url, tokens.as_token, tokens.hs_token);
        let differences = match wanted {
            Ok(wanted) => wanted.diff(&running),
            Err(error) => {
                return Finding::error(
                    format!("{shown}: {error}"),
                    "correct it and restart the homeserver",
                );
            }
        };
        if differences.is_empty() {
            return Finding::ok(format!("registration {shown}"));
        }
        let list: Vec<String> = differences
            .iter()
            .map(|d| format!("{} is {}, should be {}", d.key, d.running, d.wanted))
            .collect();
        Finding::error(
            format!("{shown} contradicts the configuration: {}", list.join("; ")),
            "correct the registration or the configuration, then restart the homeserver",
        )
    }
}

pub(super) fn probes(config: &Config) -> Vec<Box<dyn Probe + '_>> {
    if config.homeserver.is_none() {
        return Vec::new();
    }
    vec![Box::new(RegistrationProbe(config))]
}
