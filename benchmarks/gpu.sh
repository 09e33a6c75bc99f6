#!/usr/bin/env bash
# What a GPU can show, in one script: benchmarks/gpu.sh OUT [SECONDS_OF_TRAINING] [FASHION_MNIST_FOLDER]
#
# Leaves in OUT: DEVICE.json (benchmarks at GPU sizes), accuracy.json (float32 and TF32 against float64 on the CPU), and,
# if it is told how long to train, weights of the spins' U-Net in OUT/fashion. It needs JAX, diffrax, equinox, flax, optax
# and pytest-benchmark, installs nothing and reads no network; what a benchmark needs beyond is skipped where it is missing.
# SIZES=small tries the script on a CPU. WHEELS names a folder of wheels of pure Python to be used as they are.
set -euo pipefail
out=$(mkdir -p "${1:?name a folder for the results}" && cd "$1" && pwd)
training=${2:-0} data=${3:-}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export SOFTJAX_BENCHMARK_RESULTS=$out XLA_PYTHON_CLIENT_PREALLOCATE=${XLA_PYTHON_CLIENT_PREALLOCATE:-false}
PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
for wheel in "${WHEELS:-/nowhere}"/*.whl; do [ -e "$wheel" ] && PYTHONPATH=$PYTHONPATH:$wheel; done
export PYTHONPATH
python=${PYTHON:-python3}
failed=0
"$python" benchmarks/accuracy.py "$out/accuracy.json" || failed=1
# Not the project's pytest settings: another version of pytest may be all there is.
for question in limits derivatives scaling peers edm2; do
	timeout "${LIMIT:-120}" "$python" -m pytest "benchmarks/bench_$question.py" -c /dev/null --rootdir . -p no:cacheprovider \
		-o python_files='bench_*.py' -o python_functions='bench_*' --benchmark-only --benchmark-disable-gc -q \
		--sizes "${SIZES:-large}" || failed=1
done
if [ "$training" -gt 0 ]; then
	"$python" benchmarks/train_for.py "$out/fashion" "$training" ${data:+"$data"} || failed=1
fi
exit $failed
