//! How much work one evaluation may do.

use super::EvalError;

/// What is left of an evaluation's allowance; several evaluations may share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    steps: u32,
    steps_max: u32,
    bytes: usize,
    bytes_max: usize,
}

/// Steps of a default budget.
pub const STEPS_MAX: u32 = 10_000;
/// Bytes of built values of a default budget: room for the largest payload, whose small values count with
/// what they take in memory, and for what is built on the way.
pub const BYTES_MAX: usize = 4 * 1024 * 1024;

impl Default for Budget {
    fn default() -> Self {
        Self::new(STEPS_MAX, BYTES_MAX)
    }
}

impl Budget {
    /// Allows so many evaluation steps and so many bytes of built values.
    #[must_use]
    pub fn new(steps_max: u32, bytes_max: usize) -> Self {
        Self {
            steps: steps_max,
            steps_max,
            bytes: bytes_max,
            bytes_max,
        }
    }

    /// Steps left.
    #[must_use]
    pub fn steps_left(&self) -> u32 {
        self.steps
    }

    pub(crate) fn step(&mut self) -> Result<(), EvalError> {
        self.steps(1)
    }

    pub(crate) fn steps(&mut self, count: u32) -> Result<(), EvalError> {
        match self.steps.checked_sub(count) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => {
                self.steps = 0;
                Err(EvalError::Budget(self.steps_max))
            }
        }
    }

    /// Charges for walking over `bytes` of text.
    pub(crate) fn scan(&mut self, bytes: usize) -> Result<(), EvalError> {
        const BYTES_PER_STEP: usize = 64;
        self.steps(u32::try_from(bytes / BYTES_PER_STEP).unwrap_or(u32::MAX))
    }

    /// Charges for building `bytes` of values.
    pub(crate) fn build(&mut self, bytes: usize) -> Result<(), EvalError> {
        match self.bytes.checked_sub(bytes) {
            Some(left) => {
                self.bytes = left;
                Ok(())
            }
            None => {
                self.bytes = 0;
                Err(EvalError::TooLarge(self.bytes_max))
            }
        }
    }
}
