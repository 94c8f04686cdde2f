//! The contract of saga and nothing else: the messages and services of `saga/v1/*.proto`, and their sizes.

pub mod limits;

/// Version 1 of the contract, generated from `saga/v1/*.proto`.
#[allow(
    missing_docs,
    clippy::all,
    unused_qualifications,
    reason = "generated; the documentation stands in the proto files"
)]
pub mod v1 {
    tonic::include_proto!("saga.v1");
}

/// The compiled descriptors, for gRPC server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
