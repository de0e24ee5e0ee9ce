//! A store for users' tests.

/// x
#[derive(Debug)]
pub struct MockRegistry;
/// x
#[derive(Debug)]
pub struct Call;
