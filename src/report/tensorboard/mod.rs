//! Event files for TensorBoard, beside the record that they repeat: `tensorboard/events.out.tfevents.…`.
//!
//! ```text
//! record      how messages lie in a file: lengths and checksums
//! message     the messages that are written
//! histogram   how the numbers of a tensor are spread
//! events      a run's file
//! ```
//! A life of a run writes one file, in whole messages. It begins with the step that it goes on from, so that TensorBoard drops what
//! earlier lives have seen of later steps.

mod events;
mod histogram;
mod message;
mod record;

pub use events::Events;
