-- From which network and by which browser a link was spent, or a session was seen, is forgotten after 90 days. The chore asks which
-- organisations still have some; what it forgets, it forgets in their own transactions.
CREATE POLICY sweep_networks ON join_token FOR SELECT TO anteroom_server
    USING ((redemption_net IS NOT NULL OR redemption_ua IS NOT NULL) AND current_setting('app.sweep', true) = 'networks');
CREATE POLICY sweep_networks ON visit_session FOR SELECT TO anteroom_server
    USING ((net IS NOT NULL OR ua IS NOT NULL) AND current_setting('app.sweep', true) = 'networks');
CREATE INDEX join_token_network_by_age ON join_token (redeemed_at) WHERE redemption_net IS NOT NULL OR redemption_ua IS NOT NULL;
CREATE INDEX visit_session_network_by_age ON visit_session (issued_at) WHERE net IS NOT NULL OR ua IS NOT NULL;
