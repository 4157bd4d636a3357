#!/usr/bin/env bash
# What a vm_suite runs:
#   suite_test.sh OPTION... -- (NAME LIMIT_S NEEDS DRIVER PATH)... -- [ONLY...]
# where the options are of tools/vm/run, NEEDS is rdma or machine, and the rest is of run_programs.
# With names after the last -- it runs those alone.
set -euo pipefail

vm=$TEST_SRCDIR/weft/tools/vm
options=()
while [[ $1 != -- ]]; do
  options+=("$1")
  shift
done
shift
programs=()
while [[ $1 != -- ]]; do
  programs+=("${@:1:5}")
  shift 5
done
shift
only=" $* "

results=$TEST_UNDECLARED_OUTPUTS_DIR/results
mkdir -p "$results"
state=/sys/class/infiniband

# The IPv4 address of RoCE port $1, a directory of sysfs, from its GIDs; nothing if it has none.
ipv4_of() {
  local gid index text
  for gid in "$1"/gids/*; do
    index=${gid##*/}
    read -r text <"$gid" || continue
    [[ $text == 0000:0000:0000:0000:0000:ffff:* ]] || continue
    [[ $(cat "$1/gid_attrs/types/$index" 2>/dev/null) == "RoCE v2" ]] || continue
    text=${text#*ffff:}
    printf '%d.%d.%d.%d\n' "0x${text:0:2}" "0x${text:2:2}" "0x${text:5:2}" "0x${text:7:2}"
    return
  done
}

# Fills devices and addresses: from the environment, or with the first port that is up.
find_rdma_devices() {
  local port address
  devices=${WEFT_RDMA_DEVICES:-} addresses=${WEFT_RDMA_ADDRESSES:-}
  [[ -z $devices || -z $addresses ]] || return 0
  for port in "$state"/*/ports/*; do
    [[ -e $port/state && $(<"$port/state") == *ACTIVE* ]] || continue
    address=$(ipv4_of "$port")
    [[ -n $address ]] || continue
    devices=${port#"$state"/} addresses=$address
    devices=${devices%%/*}
    return 0
  done
  return 1
}

# A pair of words; one stands for both ends.
both() { if [[ $1 == *' '* ]]; then echo "$1"; else echo "$1 $1"; fi; }

names=() in_machine=() on_device=()
find_rdma_devices && has_rdma=true || has_rdma=false
for ((i = 0; i < ${#programs[@]}; i += 5)); do
  name=${programs[i]}
  [[ $only == '  ' || $only == *" $name "* ]] || continue
  names+=("$name")
  entry=("$name" "${programs[i + 1]}" "${programs[i + 3]}" "$PWD/${programs[i + 4]}")
  if $has_rdma && [[ ${programs[i + 2]} == rdma ]]; then
    on_device+=("${entry[@]}")
  else
    in_machine+=("${entry[@]}")
  fi
done
((${#names[@]} > 0)) || { echo "no program of this suite is named${only% }" >&2; exit 1; }

if ((${#on_device[@]} > 0)); then
  echo "On devices $(both "$devices"), addresses $(both "$addresses"):"
  env -u WEFT_RDMA_NETWORK "WEFT_RDMA_DEVICES=$(both "$devices")" \
    "WEFT_RDMA_ADDRESSES=$(both "$addresses")" "$vm/run_programs" "$results" "${on_device[@]}"
fi
if ((${#in_machine[@]} > 0)); then
  if why=$("$vm/run" --prepare 2>&1); then
    # Bazel gives a test few variables; those of the machine are the guest's own.
    variables=()
    while read -r name; do
      case $name in
        HOME | PATH | PWD | OLDPWD | SHLVL | _ | WEFT_*) ;;
        *) variables+=("$name=${!name}") ;;
      esac
    done < <(compgen -e)
    "$vm/run" --rw "$TEST_UNDECLARED_OUTPUTS_DIR" "${options[@]}" -- env "${variables[@]}" \
      "$vm/run_programs" "$results" "${in_machine[@]}" || echo "tools/vm/run: status $?"
  else
    for ((i = 0; i < ${#in_machine[@]}; i += 4)); do
      echo "no virtual machine can start here: $why" >"$results/${in_machine[i]}.skipped"
    done
  fi
fi
exec python3 "$vm/report.py" "$results" "${names[@]}"
