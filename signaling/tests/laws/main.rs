//! The laws of signaling's HTTP face against a real PostgreSQL: links, tenants, audit, problems.

mod audit;
mod links;
mod logs;
mod problems;
mod support;
mod tenants;
mod visits;
