//! Refunds through Stripe: ordered of a server, made at the strict stand-in, once whatever happens in between.

use interop::stripe::{Limits, Mischief, PROFILE, SECRET_KEY, StandIn};
use mpp::ledger::{Delivery, LedgerEntry, Query};
use mpp::method::stripe::{Share, StripeWallet, TokenSource, TokenWanted};
use mpp::protocol::{Amount, Timestamp};
use mpp::refund::{RefundError, RefundOrder, RefundState};
use mpp::routing::{Router, get};
use mpp::store::{MemoryStore, Store};
use mpp::testing::Client;
use mpp::{ManualClock, Mpp, Paid, Secret, Stripe};
use std::sync::Arc;
use std::time::Duration;
