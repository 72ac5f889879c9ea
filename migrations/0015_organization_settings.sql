-- What an organisation decides for itself about its visits. Every setting has a default, so that an organisation that never looks at
-- them behaves as the visit model says.
ALTER TABLE organization
    ADD COLUMN auto_admit_on_clinician_join boolean NOT NULL DEFAULT false,
    ADD COLUMN no_show_grace_min integer NOT NULL DEFAULT 15 CHECK (no_show_grace_min BETWEEN 5 AND 240),
    ADD COLUMN reopen_window_min integer NOT NULL DEFAULT 60 CHECK (reopen_window_min BETWEEN 0 AND 1440),
    ADD COLUMN empty_grace_min integer NOT NULL DEFAULT 5 CHECK (empty_grace_min BETWEEN 2 AND 120),
    ADD COLUMN waiting_limit_min integer NOT NULL DEFAULT 60 CHECK (waiting_limit_min BETWEEN 5 AND 480),
    ADD COLUMN early_join_portal_min integer NOT NULL DEFAULT 10 CHECK (early_join_portal_min BETWEEN 0 AND 120),
    ADD COLUMN early_join_link_min integer NOT NULL DEFAULT 30 CHECK (early_join_link_min BETWEEN 0 AND 240),
    ADD COLUMN longest_visit_min integer NOT NULL DEFAULT 480 CHECK (longest_visit_min BETWEEN 60 AND 1440);

-- The name and the telephone number stay the operator's.
GRANT UPDATE (auto_admit_on_clinician_join, no_show_grace_min, reopen_window_min, empty_grace_min, waiting_limit_min,
    early_join_portal_min, early_join_link_min, longest_visit_min) ON organization TO anteroom_server;
