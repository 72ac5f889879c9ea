use super::*;

/// The whole matrix, written out: a change of rights must change this table too.
const ROWS: &[(Permission, &str)] = {
    use Permission as P;
    &[
        // clinician, patient, scheduler, admin, auditor, service; by link: clinician, patient and guests, observer
        (P::CreateVisit, "yes no  yes yes no  yes  no  no  no"),
        (P::ListVisits, "yes no  yes yes no  yes  no  no  no"),
        (P::ReadVisit, "yes yes yes yes no  yes  yes yes yes"),
        (P::UpdateVisit, "yes no  yes yes no  yes  no  no  no"),
        (P::CancelVisit, "yes no  yes yes no  yes  no  no  no"),
        (P::ReopenVisit, "yes no  no  yes no  no   no  no  no"),
        (P::MarkNoShow, "yes no  yes yes no  no   yes no  no"),
        (P::EndVisit, "yes no  no  yes no  no   yes no  no"),
        (P::JoinVisit, "yes yes no  no  no  no   yes yes yes"),
        (P::HostVisit, "yes no  no  no  no  no   yes no  no"),
        (P::ReadWaitingRoom, "yes no  yes yes no  no   yes no  no"),
        (P::ShareScreen, "yes no  no  no  no  no   yes yes no"),
        (P::IssueLinks, "yes no  yes yes no  yes  no  no  no"),
        (P::ResendLink, "yes no  yes yes no  yes  no  no  no"),
        (P::NotifyPatient, "yes no  yes yes no  yes  no  no  no"),
        (P::StartRecording, "yes no  no  no  no  no   yes no  no"),
        (P::StopRecording, "yes no  no  no  no  no   yes yes no"),
        (P::PlayRecordings, "yes no  no  yes no  no   no  no  no"),
        (P::HoldRecording, "no  no  no  yes no  no   no  no  no"),
        (P::ReadQuality, "yes no  no  yes no  no   no  no  no"),
        (P::ReadConsent, "yes yes yes yes no  no   yes yes no"),
        (P::GiveConsent, "yes yes yes yes no  no   yes yes no"),
        (P::OverrideConsent, "yes no  no  no  no  no   yes no  no"),
        (P::ReadLicences, "yes no  yes yes no  yes  no  no  no"),
        (P::WriteLicences, "no  no  no  yes no  no   no  no  no"),
        (P::OverrideLicence, "yes no  no  no  no  no   yes no  no"),
        (P::AttestLocation, "yes yes no  no  no  no   yes yes no"),
        (P::ReadEmergency, "yes no  no  no  no  no   yes no  no"),
        (P::ReadPhi, "yes no  no  no  no  no   yes no  no"),
        (P::WritePhi, "yes no  no  no  no  no   yes no  no"),
        (P::SubmitQuestionnaire, "no  yes no  no  no  no   no  yes no"),
        (P::SetBilling, "yes no  no  yes no  no   no  no  no"),
        (P::ReportIssue, "yes yes yes yes no  no   yes yes yes"),
        (P::ReadRules, "yes yes yes yes yes yes  yes yes yes"),
        (P::ReadProviderStatus, "yes no  yes yes yes yes  no  no  no"),
        (P::ReadAudit, "no  no  no  yes yes no   no  no  no"),
        (P::ExportAudit, "no  no  no  yes yes no   no  no  no"),
        (P::VerifyAudit, "no  no  no  yes yes no   no  no  no"),
        (P::ManageOrganization, "no  no  no  yes no  no   no  no  no"),
        (P::ManageServiceTokens, "no  no  no  yes no  no   no  no  no"),
        (P::RevokeAccess, "no  no  no  yes no  yes  no  no  no"),
        (P::BreakGlass, "yes no  no  no  no  no   no  no  no"),
    ]
};

#[test]
fn role_matrix() {
    assert_eq!(ROWS.iter().map(|(permission, _)| *permission).collect::<Vec<_>>(), Permission::ALL);
    for (permission, words) in ROWS {
        let expected: Vec<bool> = words.split_whitespace().map(|word| word == "yes").collect();
        let people = StaffRole::ALL.iter().map(|role| staff_may(*role, *permission));
        let links = [Role::Clinician, Role::Patient, Role::Observer].map(|role| session_may(role, *permission));
        let actual: Vec<bool> = people.chain([service_may(*permission)]).chain(links).collect();
        assert_eq!(actual, expected, "{permission:?}");
        for role in [Role::Guest, Role::Interpreter, Role::Caregiver, Role::Supervisor] {
            assert_eq!(
                session_may(role, *permission),
                session_may(Role::Patient, *permission),
                "{role:?} {permission:?}"
            );
        }
        assert_eq!(Permission::parse(permission.as_str()), Some(*permission));
    }
}

/// H-04: what only a person may answer for is never a program's.
#[test]
fn h_04_no_service_has_a_clinical_permission() {
    let clinical: Vec<_> = Permission::ALL.iter().filter(|permission| permission.is_clinical()).collect();
    assert!(clinical.len() > 10);
    for permission in clinical {
        assert!(!service_may(*permission), "{permission:?}");
    }
}

/// The auditor reads the audit chain and a few tables of the program, and changes nothing of anybody's.
#[test]
fn an_auditor_reads_audit_and_writes_nothing() {
    use Permission as P;
    let has: Vec<_> = P::ALL.iter().copied().filter(|permission| staff_may(StaffRole::Auditor, *permission)).collect();
    assert_eq!(has, [P::ReadRules, P::ReadProviderStatus, P::ReadAudit, P::ExportAudit, P::VerifyAudit]);
}
