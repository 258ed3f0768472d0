//! The macros of `mpp`.
