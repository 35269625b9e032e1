// What arrays on a device hold: float, or numbers of 16 bits. Kernels compute in float32 whatever
// it is, and round once where they write.

#ifndef ALEXNET_STORAGE_H_
#define ALEXNET_STORAGE_H_

#include <cstdint>

namespace alexnet {

struct Bfloat16 {  // the upper half of a float: 8 bits of mantissa with the hidden one
    uint16_t bits;
};

struct Float16 {  // half precision of IEEE 754: 11 bits of mantissa, up to 65504
    uint16_t bits;
};

}  // namespace alexnet

#endif  // ALEXNET_STORAGE_H_
