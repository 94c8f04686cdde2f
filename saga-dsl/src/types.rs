//! The type language of inputs, outputs and payloads.
