#!/usr/bin/env bash
# Regenerates the signature vectors in this directory with openssl 3 alone.
#
# TEST KEYS ONLY: every private key here is public knowledge. Never trust one of them outside the tests.
#
# Each run makes new keys and replaces every vector. A file's name says what it holds:
#   body.json                what was signed, byte for byte
#   tampered.json            the same, one digit of the phone number changed
#   <scheme>/private.pem     PKCS#8, with public.pem beside it
#   <scheme>/other.pem       the public key of somebody else, same scheme
#   <scheme>/signature.*     .b64 as GHL sends it · .cut.b64 without its last byte · .url.b64 url-safe · .hex
#   p256/                    also high-s.b64, low-s.b64 (both good), raw.b64 (r||s, not DER), sec1.pem, compressed.pem
#   refused/                 keys that are well-formed and still must not be accepted
set -euo pipefail
cd "$(dirname "$0")"

# SHA-256 in the schemes that hash; Ed25519 takes the body itself.
sign() { # scheme, output (DER or raw bytes)
  case $1 in
    ed25519) openssl pkeyutl -sign -rawin -inkey "$1/private.pem" -in body.json -out "$2" ;;
    *) openssl dgst -sha256 -sign "$1/private.pem" -out "$2" body.json ;;
  esac
}

base64_of() { openssl base64 -A -in "$1"; }
hex_of() { od -An -v -tx1 "$1" | tr -d ' \n'; }
bytes_of() { local hex=$1; while [ -n "$hex" ]; do printf "\\x${hex:0:2}"; hex=${hex:2}; done; }

# The two integers of a DER ECDSA signature, as 64 hex digits each.
integers_of() {
  openssl asn1parse -inform DER -in "$1" | sed -n 's/.*INTEGER *://p' |
    while read -r n; do printf '%064s\n' "$n" | tr ' ' 0; done
}

keygen() { # scheme, output
  case $1 in
    ed25519) openssl genpkey -algorithm ED25519 -out "$2" ;;
    rsa) openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$2" ;;
    p256) openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$2" ;;
  esac
}

work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

rm -rf ed25519 rsa p256 refused
mkdir ed25519 rsa p256 refused

printf '%s' '{"contactId":"GKBhT6BfwY9mjzXAU3sq","locationId":"GKAWb4yu7A4LSc0skQ6g","messageId":"GKJxs4P5L8dWc5CFUITM","type":"SMS","phone":"+639171234567","message":"Ñandú pays ₱150\n","attachments":[]}' >body.json
sed 's/4567/4568/' body.json >tampered.json

for scheme in ed25519 rsa p256; do
  # Until the base64 has a character that the url-safe alphabet spells differently.
  until [ -f "$scheme/signature.b64" ] && grep -q '[+/]' "$scheme/signature.b64"; do
    keygen $scheme $scheme/private.pem
    sign $scheme "$work/signature"
    base64_of "$work/signature" >$scheme/signature.b64
  done
  openssl pkey -in $scheme/private.pem -pubout -out $scheme/public.pem
  keygen $scheme "$work/other"
  openssl pkey -in "$work/other" -pubout -out $scheme/other.pem

  head -c -1 "$work/signature" >"$work/cut"
  base64_of "$work/cut" >$scheme/signature.cut.b64
  tr '+/' '-_' <$scheme/signature.b64 >$scheme/signature.url.b64
  hex_of "$work/signature" >$scheme/signature.hex
done

openssl ec -in p256/private.pem -out p256/sec1.pem 2>/dev/null
openssl ec -in p256/private.pem -pubout -conv_form compressed -out p256/compressed.pem 2>/dev/null

# Signatures come with a high or a low s by chance; above half the group order is high (FIPS 186-5 allows both).
half=7FFFFFFF800000007FFFFFFFFFFFFFFFDE737D56D38BCF4279DCE5617E3192A8
until [ -f p256/high-s.b64 ] && [ -f p256/low-s.b64 ]; do
  sign p256 "$work/signature"
  { read -r r && read -r s; } < <(integers_of "$work/signature")
  if [[ $s > $half ]]; then half_name=high-s; else half_name=low-s; fi
  base64_of "$work/signature" >p256/$half_name.b64
  bytes_of "$r$s" >"$work/raw"
  base64_of "$work/raw" >p256/raw.b64
done

public() { openssl pkey -pubout -out "refused/$1"; }
openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:1024 | public rsa-1024.pem
openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2047 | public rsa-2047.pem
openssl genpkey -quiet -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 | public rsa-pss.pem
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 | public p384.pem
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1 | public secp256k1.pem
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit | public p256-explicit.pem
openssl genpkey -algorithm ED448 | public ed448.pem
openssl genpkey -algorithm X25519 | public x25519.pem
openssl rsa -in rsa/private.pem -RSAPublicKey_out -out refused/rsa-pkcs1.pem 2>/dev/null
openssl rsa -in rsa/private.pem -traditional -out refused/rsa-pkcs1-private.pem 2>/dev/null
openssl pkcs8 -topk8 -in p256/private.pem -passout pass:test -out refused/encrypted-private.pem
openssl req -x509 -key p256/private.pem -subj /CN=test -days 36500 -out refused/certificate.pem
