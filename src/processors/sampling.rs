//! What samplers share, from [`crate::otlp::sampling`], which the budgets of exporters use, too.

pub(super) use crate::otlp::sampling::{
    Answer, RANDOMNESS, Randomness, Said, THRESHOLD, Threshold, TraceState, Weighing,
};
