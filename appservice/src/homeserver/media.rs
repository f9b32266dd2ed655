//! The homeserver's media: pictures go up, and come down again for the bot.

use super::{As, Homeserver, HomeserverError};
use crate::matrix::OwnedMxcUri;
use crate::matrix::client::{create_content, get_content};

impl Homeserver {
    /// Uploads a file as the bot; answers with its `mxc:` URI.
    pub async fn upload(&self, octets: Vec<u8>, content_type: &str) -> Result<String, HomeserverError> {
        let mut request = create_content::v3::Request::new(octets);
        request.content_type = Some(content_type.to_owned());
        Ok(self.call(request, As::Service).await?.content_uri.to_string())
    }

    /// Downloads a file (client-server API, "Authenticated media").
    pub async fn download(&self, mxc: &str) -> Result<Vec<u8>, HomeserverError> {
        let request = get_content::v1::Request::from_uri(&OwnedMxcUri::from(mxc))
            .map_err(|e| HomeserverError::Setup(format!("{mxc:?}: {e}")))?;
        Ok(self.call(request, As::Service).await?.file)
    }
}
