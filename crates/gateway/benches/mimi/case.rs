//! A figure, for people or for programs.

/// How figures are printed.
#[derive(Clone, Copy)]
pub(crate) struct Report {
    pub(crate) json: bool,
}

impl Report {
    /// A figure of ours alone.
    pub(crate) fn figure(self, case: &str, ours: f64, unit: &str) {
        if self.json {
            println!(r#"{{"area":"mimi","case":"{case}","ours":{ours:.3},"unit":"{unit}"}}"#);
        } else {
            println!("{case:<76} {ours:>10.2} {unit}");
        }
    }

    /// A figure that is to stay at or below a goal. Says whether it does.
    pub(crate) fn goal(self, case: &str, ours: f64, unit: &str, goal: f64) -> bool {
        let holds = ours <= goal;
        if self.json {
            println!(
                r#"{{"area":"mimi","case":"{case}","ours":{ours:.3},"unit":"{unit}","goal":{goal},"holds":{holds}}}"#
            );
        } else {
            let verdict = if holds { "" } else { "  MISSED" };
            println!("{case:<76} {ours:>10.2} {unit} (goal {goal}){verdict}");
        }
        holds
    }

    /// What is no figure.
    pub(crate) fn note(self, text: &str) {
        if !self.json {
            println!("{text}");
        }
    }
}
