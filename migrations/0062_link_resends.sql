-- How often a visit's links were sent anew; the bound is the server's, and this one the last word.
ALTER TABLE visit ADD COLUMN link_resends integer NOT NULL DEFAULT 0 CHECK (link_resends BETWEEN 0 AND 5);
