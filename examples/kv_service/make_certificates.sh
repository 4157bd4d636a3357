#!/usr/bin/env bash
# Makes what kv-tls-server.textproto and kv-tls-client.textproto name: an authority, a certificate of
# the server, and those of two clients. For trying out; keys of production are kept elsewhere.
#
# Usage: make_certificates.sh FOLDER [DAYS]
set -euo pipefail
(($# == 1 || $# == 2)) || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1" && cd "$1"
days=${2:-30}
umask 077  # private keys are for their owner only

openssl() { command openssl "$@" 2>openssl.log || { cat openssl.log >&2; exit 1; }; }

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days "$days" \
  -subj '/CN=kv example authority' -keyout ca.key -out ca.pem

# certify NAME USAGE SUBJECT_ALTERNATIVE_NAMES
certify() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
    -keyout "$1.key" -out "$1.csr"
  printf 'subjectAltName = %s\nextendedKeyUsage = %s\n' "$3" "$2" >"$1.ext"
  openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days "$days" \
    -extfile "$1.ext" -out "$1.pem"
  rm "$1.csr" "$1.ext"
}
certify server serverAuth 'DNS:kv.example, IP:127.0.0.1, IP:::1'
certify writer clientAuth 'DNS:writer'
certify reader clientAuth 'DNS:reader'
rm -f openssl.log ca.srl
