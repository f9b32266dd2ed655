//! What has to be added elsewhere: the homeserver's configuration, a reverse proxy.

use crate::config::Config;
use std::path::Path;

/// Prints what was made and what is left to do.
pub(super) fn print(config: &Config, path: &Path, development: bool) {
    println!(
        "Made {}, keys in {}.",
        path.display(),
        config.path(Path::new("keys")).display()
    );
    if development {
        println!(
            "The certificate is of a development authority: peers trust it only if they trust that authority."
        );
    } else {
        println!(
            "Put a certificate for {} into {} and {}, and the authority of your peers' certificates into {}.",
            config.provider.domain,
            config.path(&config.mimi.certificate).display(),
            config.path(&config.mimi.key).display(),
            config
                .mimi
                .trusted_ca
                .first()
                .map(|p| config.path(p))
                .unwrap_or_default()
                .display(),
        );
    }
    if config.homeserver.is_some() {
        println!("\n{}", homeserver(config));
    }
    println!("\n{}\n\n{}", nginx(config), caddy(config));
    println!(
        "\nThen: causeway --config {0} check, and causeway --config {0} serve",
        path.display()
    );
}

/// Lines for Synapse's homeserver.yaml.
fn homeserver(config: &Config) -> String {
    let registration = config
        .appservice
        .as_ref()
        .map(|a| config.path(&a.registration))
        .unwrap_or_default();
    let registration = std::path::absolute(&registration).unwrap_or(registration);
    format!(
        "# --- homeserver.yaml (Synapse) ---------------------------------------------------
# The file holds secrets; make it readable for the homeserver's user.
app_service_config_files:
  - {}
# Where OpenID tokens are checked. `openid` may also be added to the names of a listener that is there already;
# a listener with `federation` has it built in. Name it as homeserver.openid_url.
listeners:
  - port: 8009
    bind_addresses: ['127.0.0.1']
    type: http
    tls: false
    resources:
      - names: [openid]",
        registration.display()
    )
}

/// The host that leads to the MIMI face. Where it is the provider's domain itself, which other things are served
/// under, too, a name of its own is shown.
fn mimi_host(config: &Config) -> (String, &'static str) {
    let (domain, host) = (config.provider.domain.as_str(), config.advertised_name());
    if host == domain {
        (
            format!("mimi.{domain}"),
            "\n# That name is a proposal: set it as mimi.host, and have it in the certificate.",
        )
    } else {
        (host.to_owned(), "")
    }
}

fn nginx(config: &Config) -> String {
    let (domain, (host, remark)) = (&config.provider.domain, mimi_host(config));
    let (clients, mimi) = (config.client_api.listen, config.mimi.listen);
    format!(
        "# --- nginx ----------------------------------------------------------------------
# In the server block of https://{domain}: clients, and the directory that peers look for there.
location /_causeway/client/ {{
    proxy_pass http://{clients};
    proxy_read_timeout 120s;
    client_max_body_size 8m;
}}
location = /.well-known/mimi-protocol-directory {{
    proxy_pass http://{clients};
}}
# Peers show certificates, so their connections to {host} must reach {mimi} unopened (in the stream block):
# map $ssl_preread_server_name $to {{ {host} {mimi}; default 127.0.0.1:8444; }}
# server {{ listen 443; ssl_preread on; proxy_pass $to; }}{remark}"
    )
}

fn caddy(config: &Config) -> String {
    let (domain, (host, remark)) = (&config.provider.domain, mimi_host(config));
    let (clients, mimi) = (config.client_api.listen, config.mimi.listen);
    format!(
        "# --- Caddyfile ------------------------------------------------------------------
{domain} {{
    handle /_causeway/client/* {{
        reverse_proxy {clients}
    }}
    handle /.well-known/mimi-protocol-directory {{
        reverse_proxy {clients}
    }}
}}
# Peers show certificates, so {host} must lead to {mimi} directly, not through Caddy.{remark}"
    )
}
