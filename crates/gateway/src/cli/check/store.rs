//! The store: opens, and what is also verified at every start.

use super::{Finding, Probe};
use crate::cli::{open_store, runtime, store_failure};
use crate::config::Config;
use crate::failure::{Code, Failure};
use ::store::{Store as _, Verify};

pub(super) struct StoreProbe<'a>(pub(super) &'a Config);

impl StoreProbe<'_> {
    fn look(&self) -> Result<Finding, Failure> {
        let shown = self.0.path(&self.0.store.path).display().to_string();
        runtime()?.block_on(async {
            let store = open_store(self.0, false).await?;
            let report = store.verify(Verify::Quick).await.map_err(store_failure)?;
            let stats = store.stats().await.map_err(store_failure)?;
            if let Some(problem) = report.problems.first() {
                return Ok(Finding::error(
                    format!(
                        "store {shown}: {} (and {} more)",
                        problem.why,
                        report.problems.len() - 1
                    ),
                    "keep the files, run `causeway store verify`, restore the last backup or export",
                ));
            }
            Ok(Finding::ok(format!(
                "store {shown}, format {}, {} records",
                stats.format,
                stats.records()
            )))
        })
    }
}

impl Probe for StoreProbe<'_> {
    fn run(&self) -> Finding {
        let path = self.0.path(&self.0.store.path);
        if !path.exists() {
            return Finding::ok(format!(
                "store {}: not there yet, the first start makes it",
                path.display()
            ));
        }
        match self.look() {
            Ok(finding) => finding,
            Err(failure) if failure.code() == Code::StoreLocked => Finding::warning(
                format!(
                    "store {}: in use by a running service, so it was not looked at",
                    path.display()
                ),
                "ask the service itself: /readyz on its admin address",
            ),
            Err(failure) => Finding::of(&failure),
        }
    }
}
