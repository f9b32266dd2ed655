//! `proxyDownload` and the OHTTP gateway (section 5.10), and this provider's own assets.

use super::inbound::{caller, variable};
use super::problem::Problem;
use super::{FACE, MimiFace};
use crate::assets::AssetError;
use crate::web::{BodyLimit, refused};
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use ohttp::bhttp;
use percent_encoding::percent_decode_str;

/// Largest encapsulated request: it holds a URL and little else.
const OHTTP_REQUEST: usize = 16 * 1024;

/// For a peer: an asset of another peer, or of this provider.
pub(super) async fn proxy_download(
    State(face): State<MimiFace>,
    request: Request,
) -> Result<Response, Problem> {
    const NAME: &str = "proxyDownload";
    let (parts, _) = request.into_parts();
    let (_, ctx) = caller(NAME, &parts)?;
    let url = percent_decode_str(variable(&parts))
        .decode_utf8()
        .map_err(|_| Problem::malformed(NAME, "the URL in the path is not UTF-8"))?;
    let download = face.0.assets.fetch(&url, &ctx.request_id).await;
    download
        .map(crate::assets::Download::into_response)
        .map_err(|e| Problem::asset(NAME, &e))
}

/// An asset of this provider.
pub(super) async fn asset(State(face): State<MimiFace>, Path(id): Path<String>) -> Result<Response, Problem> {
    let download = face.0.assets.own(&id).await;
    download
        .map(crate::assets::Download::into_response)
        .map_err(|e| Problem::asset("asset", &e))
}

/// The gateway's keys (RFC 9458 section 3).
pub(super) async fn ohttp_keys(State(face): State<MimiFace>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, ohttp::KEYS_TYPE),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, face.0.ohttp.keys()).into_response()
}

/// The gateway (RFC 9458 section 5): decrypts, asks an asset host of a peer, encrypts the answer. What is wrong with the
/// request inside is said inside; only who sent it can read that.
pub(super) async fn ohttp_gateway(
    State(face): State<MimiFace>,
    request: Request,
) -> Result<Response, Problem> {
    const NAME: &str = "ohttp";
    let (parts, body) = request.into_parts();
    let (_, ctx) = caller(NAME, &parts)?;
    let media_type = parts.headers.get(header::CONTENT_TYPE);
    if media_type.is_none_or(|value| value != ohttp::REQUEST_TYPE) {
        return Err(Problem::new(
            NAME,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "wrong_media_type",
            format!("the gateway takes {}", ohttp::REQUEST_TYPE),
        ));
    }
    let limit = BodyLimit {
        size: OHTTP_REQUEST,
        time: face.0.limit.time,
    };
    let octets = limit.read(body).await.map_err(|e| Problem::body(NAME, e))?;
    let (inner, sealer) = face
        .0
        .ohttp
        .open(&octets)
        .map_err(|e| Problem::new(NAME, StatusCode::BAD_REQUEST, "ohttp", e.to_string()))?;
    let response = answer(&face, &inner, &ctx.request_id).await;
    let mut nonce = [0; 16];
    let unavailable = |e: String| Problem::new(NAME, StatusCode::INTERNAL_SERVER_ERROR, "internal", e);
    getrandom::fill(&mut nonce).map_err(|e| unavailable(e.to_string()))?;
    let sealed = sealer
        .seal(nonce, &response.encode())
        .map_err(|e| unavailable(e.to_string()))?;
    let headers = [
        (header::CONTENT_TYPE, ohttp::RESPONSE_TYPE),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, sealed).into_response())
}

async fn answer(face: &MimiFace, inner: &[u8], request_id: &str) -> bhttp::Response {
    let plain = |status: StatusCode| bhttp::Response {
        status: status.as_u16(),
        ..bhttp::Response::default()
    };
    let Ok(request) = bhttp::Request::decode(inner) else {
        return plain(StatusCode::BAD_REQUEST);
    };
    if request.method != b"GET" || request.scheme != b"https" {
        return plain(StatusCode::METHOD_NOT_ALLOWED);
    }
    let url = [b"https://", request.authority.as_slice(), &request.path].concat();
    let Ok(url) = String::from_utf8(url) else {
        return plain(StatusCode::BAD_REQUEST);
    };
    let fetched = match face.0.assets.fetch(&url, request_id).await {
        Ok(download) => download.collect().await,
        Err(error) => Err(error),
    };
    match fetched {
        Ok(content) => bhttp::Response {
            status: 200,
            fields: vec![(b"content-type".to_vec(), b"application/octet-stream".to_vec())],
            content: content.to_vec(),
        },
        Err(error) => {
            refused(FACE, "ohttp", error.code());
            if let AssetError::Refusal(error) = &error {
                tracing::error!(%error, "an asset can't be read");
            }
            plain(error.status())
        }
    }
}
