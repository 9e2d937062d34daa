//! libweir
pub mod abi;
pub mod sched;
pub mod services;
pub mod sys;
