//! What came out.

use std::fmt;

/// How one behaviour came out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The store behaves so.
    Passed,
    /// It does not; the text says where and how.
    Failed(String),
    /// The subject has no hook that the behaviour needs; the text names it.
    NotApplicable(&'static str),
}

/// The verdicts on all behaviours that were run, in the order of the list.
#[derive(Clone, Debug, Default)]
#[must_use = "a report that nobody reads finds nothing; call assert_passed"]
pub struct Report(Vec<(&'static str, Verdict)>);

impl Report {
    pub(super) fn new(verdicts: Vec<(&'static str, Verdict)>) -> Self {
        Self(verdicts)
    }

    /// Returns each behaviour's name and verdict.
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

    /// Returns the names of the behaviours that could not be tried on this subject.
    pub fn not_applicable(&self) -> Vec<&'static str> {
        self.names(|verdict| matches!(verdict, Verdict::NotApplicable(_)))
    }

    fn names(&self, wanted: impl Fn(&Verdict) -> bool) -> Vec<&'static str> {
        self.0.iter().filter(|(_, verdict)| wanted(verdict)).map(|(name, _)| *name).collect()
    }

    /// Does nothing where no behaviour failed and at least one passed.
    ///
    /// # Panics
    ///
    /// Otherwise, with every failure.
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
