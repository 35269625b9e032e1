// In which order the three steps of Winograd's algorithm run: the transform of the input to V, the
// products M = V · U, and the transform of M to the output. By rows and by elements compute the same
// bits; between them and by panels the shape alone decides, so that results do not depend on the
// threads.
//
//      time ->
//      by rows       thread 0  |   U   |  V M Y rows 0 | V M Y rows 1 | ...     a task: rows of
//                    thread 1  |   U   |  V M Y rows 7 | V M Y rows 8 | ...     tiles
//
//      by elements   thread 0  |   U, V    |  M (0,0) | M (0,1)  |  Y rows      a task: a panel of
//                    thread 1  |   U, V    |  M (6,0) | M (6,1)  |  Y rows      one tile element
//
//      by panels     thread 0  | all of V  |  U M Y panel 0 | U M Y panel 1     a task: panels of
//                    thread 1  | all of V  |  U M Y panel 5 | U M Y panel 6     output channels
//
// schedule     when (the first that applies)      threads share   a task owns
// -----------  ---------------------------------  --------------  --------------------------------
// by panels    few images: V is small, and each   nothing         panels of output channels: their
//              value of U is used by few tiles                    U, made on the fly, and M
// by elements  fewer: V and M are smaller than    U, V and M      of the products: one panel of
//              twice U, with many threads than                    one tile element
//              threads / 4 times U
// by rows      else: many images                  U               rows of tiles: their V and M

#ifndef ALEXNET_CPU_WINOGRAD_CHOICE_H_
#define ALEXNET_CPU_WINOGRAD_CHOICE_H_

#include "winograd_tiling.h"

namespace alexnet::cpu::winograd {

enum class Schedule { kByRows, kByElements, kByPanels };

// Channels are those of a group, after space to depth.
Schedule choose(size_t batch, const Tiling& tiling, size_t in_channels, size_t out_channels,
                size_t threads);

}  // namespace alexnet::cpu::winograd

#endif  // ALEXNET_CPU_WINOGRAD_CHOICE_H_
