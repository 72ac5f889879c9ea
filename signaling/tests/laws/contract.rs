//! One test per row of the visit model's list of endpoints: the seed's own payload, the answer, the state and the audit rows.

mod row_03;
