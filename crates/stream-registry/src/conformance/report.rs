//! The results of a run.

use std::fmt;

/// The result of one behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The store follows the rule.
    Passed,
    /// The store violates the rule. The string names the check that failed and its result.
    Failed(String),
    /// The store under test lacks a hook that the behaviour needs. The string is the name of the hook.
    NotApplicable(&'static str),
}

/// The verdicts on all behaviours of a run, in the order of [`behaviours`](super::behaviours).
#[derive(Clone, Debug, Default)]
#[must_use = "only the report shows failures; call assert_passed"]
pub struct Report(Vec<(&'static str, Verdict)>);

impl Report {
    pub(super) fn new(verdicts: Vec<(&'static str, Verdict)>) -> Self {
        Self(verdicts)
    }

    /// Returns the name and verdict of each behaviour.
    pub fn verdicts(&self) -> &[(&'static str, Verdict)] {
        &self.0
    }

    /// Returns the names of the behaviours that passed.
    pub fn passed(&self) -> Vec<&'static str> {
        self.names(|verdict| *verdict == Verdict::Passed)
    }

    /// Returns the names of the behaviours that failed.
    pub fn failed(&self) -> Vec<&'static str> {
        self.names(|verdict| matches!(verdict, Verdict::Failed(_)))
    }

    /// Returns the names of the behaviours that do not apply to the store.
    pub fn not_applicable(&self) -> Vec<&'static str> {
        self.names(|verdict| matches!(verdict, Verdict::NotApplicable(_)))
    }

    fn names(&self, selects: impl Fn(&Verdict) -> bool) -> Vec<&'static str> {
        self.0.iter().filter(|(_, verdict)| selects(verdict)).map(|(name, _)| *name).collect()
    }

    /// Asserts that at least one behaviour passed and none failed.
    ///
    /// # Panics
    ///
    /// Panics with a list of all failures if a behaviour failed or no behaviour passed.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(self.failed().is_empty() && !self.passed().is_empty(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, failed) = (self.passed().len(), self.failed().len());
        let rest = self.0.len() - passed - failed;
        write!(f, "{passed} behaviours passed, {failed} failed, {rest} do not apply")?;
        for (name, verdict) in &self.0 {
            match verdict {
                Verdict::Passed => {}
                Verdict::Failed(why) => write!(f, "\nFAILED {name}: {why}")?,
                Verdict::NotApplicable(hook) => write!(f, "\nnot applicable {name}: no hook {hook}")?,
            }
        }
        Ok(())
    }
}
