// The 16-bit numbers that arrays on the device may have, as their bits; sums are in float32.

#ifndef ALEXNET_FLOAT16_H_
#define ALEXNET_FLOAT16_H_

#include <cstdint>

namespace alexnet {

struct Bfloat16 {  // the upper half of a float32: 8 bits of mantissa with the hidden one
    uint16_t bits;
};

struct Float16 {  // IEEE's half: 11 bits of mantissa, up to 65504
    uint16_t bits;
};

}  // namespace alexnet

#endif  // ALEXNET_FLOAT16_H_
