#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use proptest::prelude::*;

fn field(vocabulary: Vocabulary, name: &str, value: &str, search: Searchable) -> ProfileField {
    ProfileField {
        vocabulary,
        name: name.to_owned(),
        value: value.to_owned(),
        search,
        shown: false,
    }
}

fn element(search_type: SearchIdentifierType, field_name: &str, value: &str) -> QueryElement {
    QueryElement {
        search_type,
        field_name: field_name.to_owned(),
        search_value: value.to_owned(),
    }
}

const PARTIAL: SearchPolicy = SearchPolicy {
    mode: SearchMode::Partial,
    results: 10,
};

fn found(profile: &[ProfileField], elements: &[QueryElement]) -> bool {
    Query::new(elements, &PARTIAL).unwrap().matches(profile)
}

/// Xavier wants to be found by name and handle, Yolanda by her handle alone, Zach not at all.
fn people() -> [Vec<ProfileField>; 3] {
    let profile = |handle: Searchable, name: Searchable| {
        vec![
            field(Vocabulary::Vcard, "IMPP", "im:mat.smith@a.example", handle),
            field(Vocabulary::Oidc, "given_name", "Mathias", name),
            field(Vocabulary::Oidc, "email", "m@a.example", Searchable::No),
        ]
    };
    [
        profile(Searchable::Exact, Searchable::Partial),
        profile(Searchable::Exact, Searchable::No),
        profile(Searchable::No, Searchable::No),
    ]
}

#[test]
fn the_draft_s_three_people_are_found_as_they_wish() {
    use SearchIdentifierType as By;
    let handle = element(By::Handle, "", "im:mat.smith@a.example");
    let nick = element(By::Nick, "", "mat.smith");
    let part = element(By::PartialName, "", "MAT");
    let whole = element(By::WholeProfile, "", "hias");
    let claim = element(By::OidcStdClaim, "given_name", "Mathias");
    let mail = element(By::Email, "", "m@a.example");
    let wishes = people().map(|profile| {
        [&handle, &nick, &part, &whole, &claim, &mail].map(|one| found(&profile, std::slice::from_ref(one)))
    });
    assert_eq!(wishes[0], [true, true, true, true, true, false]);
    assert_eq!(wishes[1], [true, true, false, false, false, false]);
    assert_eq!(wishes[2], [false; 6]);
    // All elements have to match.
    assert!(found(&people()[0], &[handle.clone(), claim.clone()]));
    assert!(!found(
        &people()[0],
        &[handle, element(By::OidcStdClaim, "given_name", "Other")]
    ));
}

#[test]
fn values_are_compared_whole_and_names_of_properties_have_no_case() {
    use SearchIdentifierType as By;
    let profile = [field(
        Vocabulary::Vcard,
        "TEL",
        "tel:+12125551212",
        Searchable::Exact,
    )];
    assert!(found(&profile, &[element(By::Phone, "", "+12125551212")]));
    assert!(!found(&profile, &[element(By::Phone, "", "+1212555121")]));
    assert!(found(
        &profile,
        &[element(By::VcardField, "tel", "tel:+12125551212")]
    ));
    assert!(!found(&profile, &[element(By::Handle, "", "")]));
}

#[test]
fn what_is_answered_instead_of_a_search() {
    use IdentifierQueryCode as Code;
    use SearchIdentifierType as By;
    let policy = |mode| SearchPolicy { mode, results: 10 };
    let handle = || element(By::Handle, "", "im:a@a.example");
    for (mode, elements, code) in [
        (SearchMode::Off, vec![handle()], Code::Forbidden),
        (SearchMode::Exact, vec![], Code::Forbidden),
        (SearchMode::Exact, vec![handle(); 17], Code::Forbidden),
        (
            SearchMode::Exact,
            vec![element(By::PartialName, "", "mathias")],
            Code::Ambiguous,
        ),
        (
            SearchMode::Exact,
            vec![element(By::WholeProfile, "", "mathias")],
            Code::Ambiguous,
        ),
        (
            SearchMode::Partial,
            vec![element(By::PartialName, "", "ma")],
            Code::Ambiguous,
        ),
        (
            SearchMode::Exact,
            vec![element(By::OidcStdClaim, "sub", "1")],
            Code::UnsupportedField,
        ),
        (
            SearchMode::Exact,
            vec![element(By::VcardField, "X-SECRET", "1")],
            Code::UnsupportedField,
        ),
    ] {
        assert_eq!(Query::new(&elements, &policy(mode)), Err(code), "{elements:?}");
    }
}

proptest! {
    /// A profile without a searchable field is found by nothing, and nobody is found by a value it doesn't have.
    #[test]
    fn nothing_leaks(value in "[a-z@:.+]{1,12}", asked in "[a-z@:.+]{3,12}", by in 1_u8..=6) {
        let by = match by {
            1 => SearchIdentifierType::Handle,
            2 => SearchIdentifierType::Nick,
            3 => SearchIdentifierType::Email,
            4 => SearchIdentifierType::Phone,
            5 => SearchIdentifierType::PartialName,
            _ => SearchIdentifierType::WholeProfile,
        };
        let names = [(Vocabulary::Vcard, "IMPP"), (Vocabulary::Oidc, "name"), (Vocabulary::Oidc, "email")];
        let hidden: Vec<_> = names.iter().map(|(v, n)| field(*v, n, &value, Searchable::No)).collect();
        prop_assert!(terms(&hidden).is_empty());
        prop_assert!(!found(&hidden, &[element(by, "", &asked)]));
        let shown: Vec<_> = names.iter().map(|(v, n)| field(*v, n, &value, Searchable::Exact)).collect();
        if found(&shown, &[element(by, "", &asked)]) {
            prop_assert!(value.contains(&asked));
        }
    }
}
