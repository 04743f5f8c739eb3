//! What is fast on this adapter: its limits, the times of variants against them, and the choice of a
//! variant for each class of shapes, kept on disk with the evidence. Only variants that compute what
//! their reference defines are ever timed or chosen.

mod profile;
mod roofline;
mod route;
mod store;
mod sweep;
mod timing;
mod tuner;

pub use profile::{Profile, ProfileStatus, VariantProfile, Verdict, Which, profile};
pub use roofline::{Roof, Rooflines};
pub use route::{route_kernel, tune_route};
pub use store::{Choice, Evidence, Key, Quarantined, Store, StoreError};
pub use sweep::{Sweep, SweepError, SweepLine, SweepPoint, ValueName, sweep};
pub use timing::{Effort, Measured, Method, OnTurn, Timing, is_tie, time_variants};
pub use tuner::{Tuned, pin, tune};
