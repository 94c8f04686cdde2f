//! The pages of `docs/errors`, in the binary: what `saga explain` prints needs neither network nor sources.

macro_rules! pages {
    ($($code:literal)*) => {
        /// The page of a code.
        pub fn page(code: &str) -> Option<&'static str> {
            match code {
                $($code => Some(include_str!(concat!(
                    env!("CARGO_MANIFEST_DIR"), "/../../docs/errors/", $code, ".md"
                ))),)*
                _ => None,
            }
        }
    };
}

pages! {
    "A0400" "A0404" "A0405" "A0406" "A0407" "A0408" "A0409" "A0410"
    "A0411" "A0412" "A0413" "A0414" "A0415" "A0416" "A0422" "A0423"
    "A0424" "A0425" "A0500" "A0503" "A0504" "A0505" "A0506" "A0507"
    "A0508" "A0509" "N0701" "N0702" "S0001" "S0002" "S0003" "S0004"
    "S0005" "S0006" "S0007" "S0008" "S0101" "S0102" "S0103" "S0104"
    "S0105" "S0106" "S0107" "S0108" "S0109" "S0110" "S0201" "S0202"
    "S0203" "S0204" "S0205" "S0206" "S0207" "S0208" "S0301" "S0302"
    "S0303" "S0304" "S0305" "S0401" "S0402" "S0403" "S0501" "W0009"
    "W0601" "W0602" "W0605" "W0606" "W0607"
}
