//! `causeway client attach`, `fetch` and `upload`

use super::output::{Output, entry_json, entry_text, with};
use super::rooms::find;
use super::{CliError, HttpClient};
use crate::client::Way;
use crate::engine::{Attachment, Sent};
use crate::error::ClientError;
use clap::Args;
use serde_json::json;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Send a file. It is encrypted here; providers keep and pass on what they can't read.
#[derive(Debug, Args)]
pub(super) struct AttachArgs {
    /// The room: its URI, its name, or the last part of its URI.
    room: String,
    /// The file.
    file: PathBuf,
    /// Media type. Default: by the file's ending, else application/octet-stream.
    #[arg(long, value_name = "TYPE")]
    r#type: Option<String>,
    /// What it is, for people.
    #[arg(long, default_value = "")]
    description: String,
    /// How long to wait for the acceptance, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// Fetch the attachment of a message, through the room's hub.
#[derive(Debug, Args)]
pub(super) struct FetchArgs {
    /// The room: its URI, its name, or the last part of its URI.
    room: String,
    /// Message id as `read` prints it, or its beginning (6 digits at least).
    message: String,
    /// Which attachment of the message, from 0 on.
    #[arg(long, default_value_t = 0)]
    number: usize,
    /// Where to write it; `-` for standard output. Default: the name that the sender suggests, in the current folder.
    /// An existing file is never overwritten.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// By Oblivious HTTP: your provider doesn't learn the address, the hub doesn't learn who asks. Only in rooms of
    /// another provider.
    #[arg(long)]
    ohttp: bool,
}

/// Keep a file with your provider, as it is, and print its address: a picture for a room or for your profile. Whoever has the
/// address can read it.
#[derive(Debug, Args)]
pub(super) struct UploadArgs {
    /// The file.
    file: PathBuf,
}

fn contents(file: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(file).map_err(|e| {
        CliError::usage(
            format!("{}: {e}", file.display()),
            "name a file that you may read",
        )
    })
}

pub(super) async fn upload(client: &HttpClient, args: &UploadArgs, out: Output) -> Result<(), CliError> {
    let kept = client.upload(&contents(&args.file)?).await?;
    let value = json!({ "url": kept.url, "size": kept.size });
    out.show(&value, || kept.url.clone())
}

fn media_type(path: &Path) -> &'static str {
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "txt" => "text/plain;charset=utf-8",
        "md" => "text/markdown",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "mp3" => "audio/mpeg",
        "ogg" => "audio/ogg",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "pdf" => "application/pdf",
        "json" => "application/json",
        "zip" => "application/zip",
        _ => "application/octet-stream",
    }
}

pub(super) async fn attach(client: &mut HttpClient, args: &AttachArgs, out: Output) -> Result<(), CliError> {
    let octets = contents(&args.file)?;
    let name = args.file.file_name().unwrap_or_default().to_string_lossy();
    let file = Attachment {
        content_type: args
            .r#type
            .clone()
            .unwrap_or_else(|| media_type(&args.file).to_owned()),
        filename: name.into_owned(),
        description: args.description.clone(),
        octets,
    };
    let uri = find(client, &args.room).await?;
    let (id, sent, _) = client
        .attach(&uri, &file, Duration::from_secs(args.timeout))
        .await?;
    if matches!(sent, Sent::Accepted(_)) {
        client.catch_up(&uri).await?;
    }
    match client.engine().sent(&uri, &id)? {
        Sent::Accepted(entry) => {
            let value = with(
                entry_json(&entry),
                [("state", json!("accepted")), ("room", json!(uri))],
            );
            out.show(&value, || format!("accepted: {}", entry_text(&entry)))
        }
        Sent::Refused(why) => Err(ClientError::MessageRefused { id, why }.into()),
        Sent::Waiting { .. } | Sent::Again => Err(ClientError::Pending {
            seconds: args.timeout,
        }
        .into()),
    }
}

/// The sender's suggestion as a name in one folder.
fn safe_name(suggested: &str) -> String {
    let last = suggested.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = last
        .chars()
        .filter(|c| !c.is_control())
        .take(100)
        .collect::<String>()
        .trim_start_matches('.')
        .to_owned();
    if name.is_empty() {
        "attachment".to_owned()
    } else {
        name
    }
}

pub(super) async fn fetch(client: &mut HttpClient, args: &FetchArgs, out: Output) -> Result<(), CliError> {
    let uri = find(client, &args.room).await?;
    client.catch_up(&uri).await?;
    let way = if args.ohttp { Way::Oblivious } else { Way::HubProxy };
    let file = client.fetch(&uri, &args.message, args.number, way).await?;
    let path = args
        .output
        .clone()
        .unwrap_or_else(|| safe_name(&file.filename).into());
    let failed = |e: std::io::Error| {
        CliError::failed(
            format!("{}: {e}", path.display()),
            "name another file with --output",
        )
    };
    if path.as_os_str() == "-" {
        return std::io::stdout().write_all(&file.octets).map_err(failed);
    }
    std::fs::File::create_new(&path)
        .and_then(|mut f| f.write_all(&file.octets))
        .map_err(failed)?;
    let value = json!({
        "file": path, "size": file.octets.len(), "content_type": file.content_type,
        "suggested_name": file.filename, "description": file.description,
    });
    out.show(&value, || {
        format!(
            "{} ({} octets, {})",
            path.display(),
            file.octets.len(),
            file.content_type
        )
    })
}

#[cfg(test)]
mod tests {
    use super::safe_name;

    #[test]
    fn a_suggested_name_stays_in_the_folder() {
        for (suggested, name) in [
            ("note.txt", "note.txt"),
            ("../../etc/passwd", "passwd"),
            ("C:\\x\\y.exe", "y.exe"),
            (".bashrc", "bashrc"),
            ("..", "attachment"),
            ("", "attachment"),
            ("a\n\u{1b}b", "ab"),
        ] {
            assert_eq!(safe_name(suggested), name);
        }
    }
}
