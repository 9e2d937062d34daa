use super::driver::Scenario;
pub const SCENARIOS: &[Scenario] = &[];
