//! What must hold for any input. Used by the fuzz targets and, on the corpus, by the crate's own tests.

use bytes::Bytes;
use store::Batch;
use store::export::inspect;

/// A batch of another node is refused, or it is the same octets when it is written again.
pub(crate) fn batch(data: &[u8]) {
    let octets = Bytes::copy_from_slice(data);
    if let Ok(batch) = Batch::from_bytes(&octets) {
        assert_eq!(batch.to_bytes(), octets);
        assert!(batch.bytes() <= octets.len());
    }
}

/// An export is whole, or it is said what is wrong with it.
pub(crate) fn export(data: &[u8]) {
    if let Ok(summary) = inspect(&mut &data[..]) {
        assert!(summary.records + summary.blobs <= data.len() as u64);
    }
}
