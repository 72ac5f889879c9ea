//! The laws of signaling's HTTP face against a real PostgreSQL: links, tenants, audit, problems.
#![allow(clippy::unwrap_used, reason = "helpers of tests are test code, which clippy cannot see")]

mod anchors;
mod audit;
mod audit_queries;
mod canaries;
mod carriers;
mod chores;
mod claims;
mod clinical;
mod commands;
mod contract;
mod controls;
mod holds;
mod idempotency;
mod identity;
mod licences;
mod links;
mod log;
mod logs;
mod notices;
mod phi;
mod problems;
mod provider;
mod routes;
mod settings;
#[path = "../shared/sink.rs"]
mod sink;
mod support;
mod tenants;
mod unfiltered;
mod visits;
mod waiting;
