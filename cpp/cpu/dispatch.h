// What the machine is: its instruction sets, and its caches. Which instruction set runs is chosen
// once, from what the processor and the operating system support, from ALEXNET_ISA, or by set_isa.

#ifndef ALEXNET_CPU_DISPATCH_H_
#define ALEXNET_CPU_DISPATCH_H_

#include <string>
#include <vector>

#include "microkernels/bf16_kernels.h"
#include "microkernels/kernels.h"

namespace alexnet::cpu {

// The micro-kernels in use. A driver asks once per call and passes the reference on. The first call
// chooses them, and throws std::invalid_argument if ALEXNET_ISA names none that can run here.
const KernelTable& kernels();

// Names that this machine can run, the best first; "portable" is always the last.
std::vector<std::string> available_isas();

// Throws std::invalid_argument for a name that is unknown, not built in, or not supported here.
void set_isa(const std::string& name);

// How products of bfloat16 operands are computed: "amx", "avx512_bf16" or "widening", the best first
// of those that the instruction set in use has and this machine can run. "widening" is always among
// them. The choice is for tests and comparisons, and stays where the instruction set is changed: the
// best that is left is used then.
Bf16Multiply bf16_multiply();
std::string bf16_instructions();
std::vector<std::string> available_bf16_instructions();
void set_bf16_instructions(const std::string& name);

// Of a core's level-2 cache; 1 MiB where the system does not say. Decides how work is cut only
// where that does not show in the results.
size_t l2_cache_bytes();

}  // namespace alexnet::cpu

#endif  // ALEXNET_CPU_DISPATCH_H_
